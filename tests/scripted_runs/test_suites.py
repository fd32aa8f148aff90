"""`pirig eval --suite all`: one queue, and each suite's files as if it had been run alone."""

import json
import time

import pytest

from pirig.results.store import RunStore
from pirig.sim.suites import STANDARD_SUITES
from support import command

EPISODES = ["--policy", "scripted", "--task-ids", "0", "--trials", "0", "1", "--video", "none", "--workers", "1"]


def exported(folder):
    return {path.name: path.read_bytes() for path in (folder / "results/libero").glob("*_results.*")}


def recorded(folder):
    return {path.name: command.outcomes(folder, path.name) for path in folder.glob("results/libero/runs/*")}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Folder of a run of all suites, stopped after its first episode and gone on with; both commands."""
    folder = tmp_path_factory.mktemp("together")
    running = command.start(folder, "eval", *EPISODES, "--suite", "all")
    first = command.wait_for_results(folder, 1, running).parent.name
    stopped = command.stop(running)
    return folder, first, stopped, command.call(folder, "eval", *EPISODES, "--suite", "all", "--workers", "2")


def test_the_longest_episodes_come_first(together):
    _, first, _, _ = together
    assert first.startswith("libero_10-")


def test_a_stopped_queue_says_which_suites_are_incomplete(together):
    _, _, stopped, _ = together
    assert stopped.code == 143, stopped.err
    assert stopped.out.count("INCOMPLETE") >= 3
    assert "Traceback" not in stopped.err


def test_the_verdicts_come_in_the_order_of_the_suites(together):
    _, _, _, ended = together
    assert ended.code == 0, ended.err
    verdicts = [line.partition(":")[0] for line in ended.out.splitlines() if ": complete, " in line]
    assert verdicts == list(STANDARD_SUITES)


def test_each_suite_is_a_complete_run_with_a_page(together):
    folder, *_ = together
    for suite in STANDARD_SUITES:
        summary = json.loads((folder / f"results/libero/{suite}_results.json").read_text())
        directory = folder / "results/libero/runs" / summary["run"]
        manifest = RunStore.read(directory).manifest
        assert manifest["complete"], suite
        assert manifest["planned"] == 2, suite
        assert sum(session["episodes"] for session in manifest["sessions"]) == 2, suite
        assert (directory / "report.html").exists(), suite


def test_all_suites_in_one_queue_write_what_each_writes_alone(together, tmp_path):
    """Of the suite that was stopped in the middle, and of one that had not begun."""
    folder, *_ = together
    for suite in ("libero_10", "libero_object"):
        alone = command.call(tmp_path, "eval", *EPISODES, "--suite", suite)
        assert alone.code == 0, alone.err
    exports, runs = exported(tmp_path), recorded(tmp_path)
    assert len(exported(folder)) == 8
    assert exports == {name: data for name, data in exported(folder).items() if name in exports}
    assert len(exports) == 4
    assert len(recorded(folder)) == 4
    assert runs == {name: outcomes for name, outcomes in recorded(folder).items() if name in runs}
    assert len(runs) == 2


def test_a_mixture_of_configurations_is_refused_before_anything_runs(tmp_path):
    with RunStore.open(tmp_path / "results/libero/runs/night-libero_goal", {"suite": "another"}):
        pass
    ended = command.call(tmp_path, "eval", *EPISODES, "--suite", "all", "--run", "night")
    assert ended.code == 2
    assert "run night-libero_goal was made with another configuration" in ended.err
    assert not list(tmp_path.glob("results/libero/runs/*/episodes.jsonl"))


def test_each_suite_has_its_folder_before_the_first_episode(tmp_path):
    running = command.start(tmp_path, "eval", *EPISODES, "--suite", "all")
    names = set()
    while len(names) < 4 and running.poll() is None:
        time.sleep(0.02)
        names = {path.name for path in tmp_path.glob("results/libero/runs/*-scripted-*")}
    command.stop(running)
    assert {name.partition("-")[0] for name in names} == set(STANDARD_SUITES)
    assert not list(tmp_path.glob("results/libero/runs/*/episodes.jsonl"))
