"""`pirig eval --against RUN --stop-when decided`, on the real simulator."""

import contextlib
import dataclasses
import json
import shutil

import pytest

from pirig.evaluation.executors import SerialExecutor
from pirig.evaluation.plan import Plan, plan
from pirig.evaluation.run import Observers, run
from pirig.interfaces import Observer
from pirig.launch.observers import early_stop
from pirig.launch.settings import StopRule
from pirig.results.store import RunStore
from support.command import call
from support.run_folders import CONFIGURATION, episode, write

SPECS = plan("libero_object", range(3), range(10), seed=7)
FAILS = {(task, trial) for task in range(3) for trial in range(10) if (task + trial) % 5}


def outcome(spec):
    return "failure" if (spec.task_id, spec.trial) in FAILS else "success"


class Quick:
    """A worker with known outcomes; every seventh episode is an error the first time."""

    description = {}

    def __init__(self):
        self.seen = set()

    def __call__(self, spec):
        if spec not in self.seen and (spec.task_id + 3 * spec.trial) % 7 == 0:
            self.seen.add(spec)
            return episode(spec.suite, spec.task_id, spec.trial, "error")
        return episode(spec.suite, spec.task_id, spec.trial, outcome(spec))

    def close(self):
        pass


class Backwards:
    """An executor that does the last first, as if the first had taken longest."""

    def run(self, work, make_worker):
        worker, jobs = make_worker(0), []
        while (job := work.take(None, ())) is not None:
            jobs.append(job)
        for job in reversed(jobs):
            yield worker(job)


def decide(folder, name, executor, *, stop_after=None):
    """Runs B until it is decided, or stopped from outside. Returns what the manifest says, and episodes scored."""
    rule = StopRule(against="a", stop_when="decided")
    configuration, directory = {**CONFIGURATION, "policy": "b"}, folder / "runs" / name
    test = early_stop.prepare(rule, SPECS, configuration, directory, folder)
    worker, results = Quick(), []
    with RunStore.open(directory, configuration) as store:
        early = early_stop.declare(test, store)

        class StopsAfter(Observer):
            def result(self, result):
                results.append(result)
                if len(results) == stop_after:
                    raise KeyboardInterrupt

        plan = Plan(early.order, is_decided=lambda: early.is_decided, ahead=early.ahead)
        with contextlib.suppress(KeyboardInterrupt):
            run(plan, store, executor, lambda index: worker, Observers(early, StopsAfter()))
        return store.manifest["stopping"], len(store.scored())


def test_the_answer_is_the_same_however_it_ran(tmp_path):
    """In order, out of order with errors in between, stopped and gone on with."""
    write(tmp_path / "runs/a", {(spec.task_id, spec.trial): "success" for spec in SPECS})
    straight, scored = decide(tmp_path, "straight", SerialExecutor())
    assert straight["answer"] == "worse"
    assert straight["look"]["pairs"] <= scored < 30
    assert decide(tmp_path, "backwards", Backwards())[0] == straight
    for after in (1, 7, 12):
        assert "answer" not in decide(tmp_path, f"stopped{after}", SerialExecutor(), stop_after=after)[0]
        assert decide(tmp_path, f"stopped{after}", SerialExecutor())[0] == straight


TASKS = ("eval", "--suite", "libero_object", "--task-ids", "0", "2", "--video", "none", "--workers", "2")
STOP = ("--against", "good", "--stop-when", "decided")


@pytest.fixture(scope="module")
def folder(finished_run, tmp_path_factory):
    """With a finished run of the scripted policy, named `good`: 2 tasks x 8 trials, all of them successes.

    Two trials of each task were simulated; the others are copies, since only their outcomes are read.
    """
    finished = finished_run("scripted", tmp_path_factory.mktemp("stopping"))
    good = finished.directory.rename(finished.directory.with_name("good"))
    results = list(RunStore.read(good).results())
    with RunStore.open(good, RunStore.read(good).manifest["configuration"]) as store:
        for result in results:
            for trial in range(result.spec.trial + 2, 8, 2):
                store.append(dataclasses.replace(result, spec=dataclasses.replace(result.spec, trial=trial)))
    return finished.folder


def test_a_run_that_is_clearly_worse_ends_early_and_says_so(folder):
    words = (*TASKS, "--policy", "zero", "--replan-steps", "5", "--num-trials-per-task", "8", "--run", "bad", *STOP)
    found = call(folder, *words)
    assert found.code == 0, found.err
    assert "libero_object: STOPPED EARLY" in found.out
    assert "as declared: worse than good" in found.out
    store = RunStore.read(folder / "results/libero/runs/bad")
    noted = store.manifest["stopping"]
    assert (noted["against"], noted["margin"], noted["level"], noted["order_seed"]) == ("good", 0.0, 0.05, 7)
    assert noted["answer"] == "worse"
    assert noted["look"]["pairs"] < 16
    assert noted["episodes"] == 16
    scored = len(store.scored())
    assert noted["look"]["pairs"] <= scored < 16
    assert not store.manifest["complete"]
    export = json.loads((folder / "results/libero/libero_object_results.json").read_text())
    assert (export["complete"], export["total_episodes"]) == (False, scored)
    assert "worse" in export["stopped_early"]

    again = call(folder, *words)  # it is decided, so nothing runs
    assert again.code == 0
    assert "STOPPED EARLY" in again.out
    assert len(store.scored()) == scored

    other = call(folder, *words, "--margin", "5")
    assert other.code == 2
    assert "was declared to stop otherwise" in other.err
    assert "margin: 0.0, now 0.05" in other.err

    compared = call(folder, "compare", "good", "bad")
    assert compared.code == 0
    assert "bad stopped early: worse than good" in " ".join(compared.out.split())


BAD = {
    "alone": (("--stop-when", "decided"), "--against RUN and --stop-when decided go together"),
    "never": (("--against", "good"), "--against RUN and --stop-when decided go together"),
    "margin": ((*STOP, "--margin", "100"), "--margin is 100 and --level 5; both lie between 0 and 100"),
    "run": (("--against", "god", "--stop-when", "decided"), "no run in results/libero/runs/god; there are:"),
    "trials": ((*STOP, "--num-trials-per-task", "9"), "good has no score for 2 of the 18 planned episodes"),
    "protocol": ((*STOP, "--num-steps-wait", "9"), "settle_steps: A has 10, B 9"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_declared_is_a_clear_error(folder, words, message):
    base = (*TASKS, "--policy", "zero", "--replan-steps", "5", "--num-trials-per-task", "8", "--run", "refused")
    found = call(folder, *base, *words)
    assert (found.code, "Traceback" in found.err) == (2, False), found.err
    assert message in " ".join(found.err.split())
    assert not (folder / "results/libero/runs/refused").exists()


def test_a_declaration_after_the_first_episode_is_refused(folder, finished_run, tmp_path):
    late = finished_run("scripted", tmp_path)
    shutil.copytree(folder / "results/libero/runs/good", late.directory.with_name("good"))
    found = call(tmp_path, *TASKS, "--policy", "scripted", "--num-trials-per-task", "8", "--run", late.name, *STOP)
    assert found.code == 2
    assert f"4 episodes of run {late.name} are there already" in found.err
