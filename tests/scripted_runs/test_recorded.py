"""What is on disk of a run is enough to run it again, and a record that was changed is found out."""

import dataclasses
import json

import imageio.v2 as imageio
import numpy as np
import pytest

from pirig.results.store import RunStore
from support import command
from support.shared_runs import EPISODES


def run(folder, *words):
    """A command that simulates in its own process must not be given in that of other tests."""
    simulates = words[0] == "replay" or words[-2:] == ("--workers", "0")
    ended = (command.run if simulates else command.call)(folder, *words)
    assert "Traceback" not in ended.err, ended.err
    return ended


def evaluate(folder, name, *words):
    found = run(folder, "eval", *words, "--run", name, "--video", "none")
    assert found.code == 0, found.err
    return RunStore.read(folder / "results/libero/runs" / name)


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """A working directory with a finished run named `scripted`: two tasks, two trials each."""
    finished = finished_run("scripted", tmp_path_factory.mktemp("recorded"))
    finished.directory.rename(finished.directory.with_name("scripted"))
    return finished.folder


def tamper(folder, name, **changes):
    """Another run, whose first record is changed."""
    store = RunStore.read(folder / "results/libero/runs/scripted")
    results = list(store.results())
    with RunStore.open(folder / "results/libero/runs" / name, store.manifest["configuration"]) as other:
        other.append(dataclasses.replace(results[0], **changes))
    return results[0]


def test_the_manifest_says_what_a_run_was_made_with_and_where_its_time_went(folder):
    manifest = json.loads((folder / "results/libero/runs/scripted/manifest.json").read_text())
    (session,) = manifest["sessions"]
    assert manifest["protocol"]["id"].startswith("libero/per-episode/")
    assert len(manifest["protocol"]["hash"]) == 32
    assert session["packages"]["mujoco"] == "3.2.3"
    assert len(session["revision"]) >= 7
    assert session["machine"]["cores"]
    assert session["flags"]["task_ids"] == [0, 2]
    assert session["flags"]["video"] == "none"
    assert "eval" in session["command"]
    assert {worker["simulator"] for worker in session["started_workers"]} == {"fast"}
    assert all("llvmpipe" in worker["gl_renderer"] for worker in session["started_workers"])
    times = session["timings"]
    spent = sum(seconds for name, seconds in times.items() if name != "wall_s")
    assert abs(spent - times["wall_s"] * session["workers"]) < 0.01
    assert times["simulation_s"] > 0
    assert times["idle_s"] > 0
    assert session["episodes"] == 4
    assert session["setup_s"] > 0


def test_another_command_is_another_session_of_the_same_protocol(folder):
    before = RunStore.read(folder / "results/libero/runs/scripted").manifest
    after = evaluate(folder, "scripted", *EPISODES["scripted"]).manifest
    assert after["sessions"][:1] == before["sessions"]
    assert after["sessions"][1]["episodes"] == 0
    assert after["protocol"] == before["protocol"]


def test_a_replay_makes_the_video_at_any_size_and_of_any_camera(folder):
    found = run(folder, "replay", "scripted", "0/1", "--out", "seen")
    assert found.code == 0, found.err
    assert "1 episodes replayed: 1 as recorded, 0 not" in found.out, found.err
    found = run(folder, "replay", "scripted", "0/1", "--size", "96", "--camera", "frontview", "--out", "seen")
    assert found.code == 0, found.err
    results = RunStore.read(folder / "results/libero/runs/scripted").results()
    (result,) = (result for result in results if (result.spec.task_id, result.spec.trial) == (0, 1))
    sizes = {}
    for path in (folder / "seen").iterdir():
        pictures = list(imageio.get_reader(path).iter_data())
        assert len(pictures) == len(result.actions)
        assert np.std(pictures[0]) > 10
        sizes[path.name] = pictures[0].shape
    stem = f"libero_object_task00_trial001_{result.status}"
    assert sizes == {f"{stem}.mp4": (224, 224, 3), f"{stem}_frontview_96.mp4": (96, 96, 3)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scripted", "0/7"], "run scripted has no scored episode 0/7; expected TASK/TRIAL"),
        (["nothing", "0/0"], "there are: scripted"),
        (["scripted", "0/0", "--camera", "ceiling", "--size", "64"], "unknown camera 'ceiling'; there are: "),
        (["scripted", "0/0", "--camera", "frontview"], "--size is 0; expected 1 to 4096"),
    ],
)
def test_what_cannot_be_replayed_is_named_with_what_there_is(folder, words, message):
    found = run(folder, "replay", *words)
    assert found.code == 2, found.err
    assert message in found.err, found.err


def test_a_tampered_record_is_found_by_replay_and_verify(folder):
    was = next(RunStore.read(folder / "results/libero/runs/scripted").results())
    actions = was.actions.copy()
    actions[20, 1] += 1e-9
    tamper(folder, "changed-action", actions=actions)
    found = run(folder, "replay", "changed-action", "all", "--no-video")
    assert found.code == 1, found.err
    assert "the state after step 31 of " in found.err, found.err
    found = run(folder, "verify", "changed-action", "--workers", "0")
    assert found.code == 1, found.out
    assert "DIFFERS at step 31, action: axis 1 of action 20 is " in found.out, found.out


def test_a_record_of_another_seed_is_found_with_its_first_step(tmp_path):
    """Fixtures of libero_goal stand elsewhere with another seed."""
    words = ["--suite", "libero_goal", "--policy", "scripted", "--task-ids", "8", "--trials", "0"]
    evaluate(tmp_path, "scripted", *words, "--seed", "8")
    (was,) = RunStore.read(tmp_path / "results/libero/runs/scripted").results()
    tamper(tmp_path, "changed-seed", spec=dataclasses.replace(was.spec, seed=7))
    found = run(tmp_path, "verify", "changed-seed", "--workers", "1")
    assert found.code == 1
    assert "libero_goal/task08/trial000/seed7: DIFFERS at step 1, state" in found.out


def test_other_workers_another_order_and_another_mode_are_identical(folder):
    found = run(folder, "verify", "scripted", "--workers", "2", "--sample-seed", "5")
    assert found.code == 0, found.out
    assert "4 episodes run again: 4 identical, 0 not" in found.out, found.out
    found = run(folder, "verify", "scripted", "--policy", "random")
    assert found.code == 2
    assert "this is not the policy of the run" in found.err


@pytest.mark.slow
def test_twenty_episodes_over_all_four_suites_replay_to_their_recorded_states(tmp_path):
    scripted = dict.fromkeys(("libero_spatial", "libero_object", "libero_goal"), "scripted")
    for suite, policy in {**scripted, "libero_10": "random"}.items():
        words = ["--suite", suite, "--policy", policy, "--task-ids", "0", "2", "4", "6", "8", "--trials", "3"]
        evaluate(tmp_path, suite, *words)
        found = run(tmp_path, "replay", suite, "all", "--no-video")
        assert found.code == 0, found.err
        assert "5 episodes replayed: 5 as recorded, 0 not" in found.out, found.err
