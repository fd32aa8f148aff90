"""`pirig eval` as a user runs it, on the real simulator where there is something to run."""

import contextlib
import json
import os
import signal
import time
import urllib.request

import pytest

from pirig.results.store import RunStore
from support import command
from support.page_text import parse
from support.shared_runs import EPISODES as SHARED

EPISODES = (*SHARED["scripted"], "--workers", "2", "--video", "none")

BAD = {
    "suite": ("--suite libero_gaol", 2, "unknown suite 'libero_gaol'; there are: libero_spatial"),
    "task": ("--suite libero_object --task-ids 10", 2, "libero_object has no task 10; its tasks are 0 to 9"),
    "trial": ("--num-trials-per-task 51", 2, "has no trial 50; it has 50 initial states (0 to 49)"),
    "no trials": ("--num-trials-per-task 0", 2, "at least 1 is needed"),
    "policy": ("--policy scirpted", 2, "unknown policy 'scirpted'; there are: scripted, zero, random, replay:RUN"),
    "no checkpoint": ("--headless", 4, "gs://openpi-assets/checkpoints/pi05_libero is not in the cache"),
    "directory": ("--headless --policy-dir nowhere", 2, "there is no file or folder"),
    "recipe": ("--policy pi05_libero_tiny", 2, "nobody has published a checkpoint of pi05_libero_tiny"),
    "batch": ("--policy pi05_libero_tiny --policy-dir . --max-batch 0", 2, "--max-batch is 0; at least 1 is needed"),
    "run": ("--policy replay:yesterday", 2, "no run in results/libero/runs/yesterday"),
    "server": ("--port 1 --connect-timeout-s 1", 4, "no policy server at ws://127.0.0.1:1 after 1 s"),
    "replan": ("--policy zero --replan-steps 0", 2, "--replan-steps is 0; at least 1 is needed"),
    "results": ("--policy zero --results file/results", 2, "cannot write to file/results"),
    "videos": ("--policy zero --videos file/videos", 2, "cannot write to file/videos"),
    "flag": ("--policy zero --nmu-trials 3", 2, "Unrecognized options: --nmu-trials"),
}


@pytest.mark.parametrize(("flags", "code", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_a_clear_error(tmp_path, flags, code, message):
    (tmp_path / "file").write_text("")
    ended = command.call(tmp_path, "eval", *flags.split())
    assert ended.code == code, ended.err
    assert message in ended.text
    assert "Traceback" not in ended.err


def test_the_process_ends_with_the_exit_code_of_its_error(tmp_path):
    ended = command.run(tmp_path, "eval", "--suite", "libero_gaol")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: unknown suite 'libero_gaol'; there are: libero_spatial")


def test_a_chunk_shorter_than_replan_steps_stops_the_run_before_the_first_episode(tmp_path):
    flags = "--suite libero_object --policy zero --task-ids 0 --trials 0 --replan-steps 11 --video none --workers 1"
    ended = command.run(tmp_path, "eval", *flags.split())
    assert ended.code == 4
    assert "Traceback" not in ended.err
    assert "replan_steps is 11, but the policy's chunk has 10 actions; use --replan-steps 10 or less" in ended.err
    assert not list(tmp_path.glob("results/libero/runs/*/episodes.jsonl"))


def test_an_unknown_command_names_those_there_are(tmp_path):
    ended = command.call(tmp_path, "evaluate")
    assert ended.code == 2
    assert "no command 'evaluate'; there are: eval, serve" in ended.err


def exports(folder):
    csv = (folder / "results/libero/libero_object_results.csv").read_bytes()
    return csv, json.loads((folder / "results/libero/libero_object_results.json").read_text())


@pytest.fixture(scope="module")
def whole(finished_run, tmp_path_factory):
    """A run that nothing interrupted: two tasks, two trials each."""
    return finished_run("scripted", tmp_path_factory.mktemp("whole"))


def test_a_finished_run_ends_with_its_success_rate(whole):
    assert "4 of 4 episodes succeeded" in whole.ended.out


def test_a_finished_run_is_exported(whole):
    csv, summary = exports(whole.folder)
    assert csv.splitlines()[1] == b"0,pick up the alphabet soup and place it in the basket,0,True,154,290"
    assert (summary["complete"], summary["headless"], summary["seed"]) == (True, True, 7)


def test_each_episode_is_recorded_with_its_actions_and_final_state(whole):
    results = list(RunStore.read(whole.directory).results())
    assert [len(result.actions) for result in results] == [result.steps - 10 for result in results]
    assert all(result.state_hash for result in results)


def test_a_finished_run_has_a_page_with_what_it_was_made_with(whole):
    page = parse((whole.directory / "report.html").read_text())
    assert "4 of 4 episodes succeeded" in page.text
    assert "llvmpipe" in page.one("section", id="provenance").text
    overview = parse((whole.folder / "results/libero/report.html").read_text())
    assert overview.find("a", href=f"runs/{whole.name}/report.html")


@pytest.fixture
def copied(finished_run, tmp_path):
    """The same in a folder that a test may change."""
    return finished_run("scripted", tmp_path)


def test_the_choice_of_simulator_makes_no_other_run(copied):
    """Bits do not depend on it."""
    again = command.call(copied.folder, "eval", *EPISODES, "--simulator", "reference")
    assert again.code == 0, again.err
    assert "4 of 4 episodes are there already" in again.err


def test_recorded_actions_lead_to_the_recorded_states_in_the_reference_simulator(copied):
    words = ("--policy", f"replay:{copied.name}", "--run", "again", "--simulator", "reference")
    replayed = command.call(copied.folder, "eval", *EPISODES, *words, "--task-ids", "0", "--trials", "0")
    assert replayed.code == 0, replayed.err
    recorded = command.outcomes(copied.folder, copied.name)
    copies = command.outcomes(copied.folder, "again")
    assert len(copies) == 1
    assert copies == {spec: recorded[spec] for spec in copies}


def test_a_run_of_another_seed_is_refused_by_name(copied):
    other = command.call(copied.folder, "eval", *EPISODES, "--run", copied.name, "--seed", "8")
    assert other.code == 2
    assert "seed: the run has 7, this command 8" in other.err


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Folder of a run that was stopped, killed and finished; how it stopped; its store when killed; how it finished."""
    folder = tmp_path_factory.mktemp("interrupted")
    running = command.start(folder, "eval", *EPISODES)
    command.wait_for_results(folder, 1, running)
    stopped = command.stop(running)
    (store,) = folder.glob("results/libero/runs/*/episodes.jsonl")
    done = store.read_bytes().count(b"\n")
    running = command.start(folder, "eval", *EPISODES)
    command.wait_for_results(folder, min(done + 1, 3), running)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    kept = store.read_bytes()
    return folder, stopped, kept, command.run(folder, "eval", *EPISODES)


def test_a_stopped_run_says_that_it_is_incomplete(interrupted):
    _, stopped, _, _ = interrupted
    assert stopped.code == 143, stopped.err
    assert "INCOMPLETE" in stopped.out
    assert "Traceback" not in stopped.err


def test_a_resumed_run_goes_on_behind_what_is_there(interrupted):
    folder, _, kept, resumed = interrupted
    assert resumed.code == 0, resumed.err
    done = kept.count(b"\n")
    assert f"{done} of 4 episodes are there already" in resumed.err
    (store,) = folder.glob("results/libero/runs/*/episodes.jsonl")
    assert store.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert store.read_bytes().count(b"\n") == 4, "no episode ran twice"


def test_an_interrupted_run_ends_like_one_that_is_left_alone(interrupted, whole):
    folder, *_ = interrupted
    assert exports(folder) == exports(whole.folder)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Folder of a run with a live page, what the page said of the workers meanwhile, and how the run ended."""
    folder = tmp_path_factory.mktemp("watched")
    running = command.start(folder, "eval", *EPISODES, "--trials", "0", "--live", "0")
    address = next(line.split()[-1] for line in running.stderr if "live page: " in line)
    shown = set()
    with contextlib.suppress(OSError):  # it ends
        while True:
            with urllib.request.urlopen(f"{address}state", timeout=60) as answer:
                state = json.load(answer)
            if now := state["fragments"].get("now"):
                shown |= {figure.one("b").text for figure in parse(now).find("figure")}
            time.sleep(0.1)
    out, err = running.communicate(timeout=60)
    return folder, shown, command.Ended(running.returncode, out, err)


def test_the_live_page_of_a_run_shows_each_episode_while_it_runs(watched):
    _, shown, ended = watched
    assert ended.code == 0, ended.err
    assert {"task 0 trial 0", "task 2 trial 0"} <= shown <= {"task 0 trial 0", "task 2 trial 0", "waits"}


def test_the_live_page_changes_no_outcome(watched, whole):
    folder, *_ = watched
    (directory,) = (folder / "results/libero/runs").iterdir()
    found, expected = command.outcomes(folder, directory.name), command.outcomes(whole.folder, whole.name)
    assert found == {spec: expected[spec] for spec in found}
    assert len(found) == 2
