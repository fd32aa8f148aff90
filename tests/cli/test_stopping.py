"""`pirig eval --against RUN --stop-when decided`, on the real simulator."""

import json

import pytest

from cli.test_eval import pirig
from pirig.results.store import RunStore

TASKS = ("eval", "--suite", "libero_object", "--task-ids", "0", "2", "--video", "none", "--workers", "2")
STOP = ("--against", "good", "--stop-when", "decided")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a finished run of the scripted policy: 2 tasks x 8 trials, nearly all of them successes."""
    made = tmp_path_factory.mktemp("stopping")
    found = pirig(made, *TASKS, "--policy", "scripted", "--num-trials-per-task", "8", "--run", "good")
    assert found.returncode == 0, found.stderr
    return made


def test_a_run_that_is_clearly_worse_ends_early_and_says_so(folder):
    words = (*TASKS, "--policy", "zero", "--replan-steps", "5", "--num-trials-per-task", "8", "--run", "bad", *STOP)
    found = pirig(folder, *words)
    assert found.returncode == 0, found.stderr
    assert "libero_object: STOPPED EARLY" in found.stdout and "as declared: worse than good" in found.stdout
    store = RunStore.read(folder / "results/libero/runs/bad")
    noted = store.manifest["stopping"]
    assert (noted["against"], noted["margin"], noted["level"], noted["order_seed"]) == ("good", 0.0, 0.05, 7)
    assert noted["answer"] == "worse" and noted["look"]["pairs"] < 16 and noted["episodes"] == 16
    scored = len(store.finished())
    assert noted["look"]["pairs"] <= scored < 16 and not store.manifest["complete"]
    export = json.loads((folder / "results/libero/libero_object_results.json").read_text())
    assert (export["complete"], export["total_episodes"]) == (False, scored) and "worse" in export["stopped_early"]

    again = pirig(folder, *words)  # it is decided, so nothing runs
    assert again.returncode == 0 and "STOPPED EARLY" in again.stdout and len(store.finished()) == scored

    other = pirig(folder, *words, "--margin", "5")
    assert other.returncode == 2 and "was declared to stop otherwise" in other.stderr
    assert "margin: 0.0, now 0.05" in other.stderr

    compared = pirig(folder, "compare", "good", "bad")
    assert compared.returncode == 0 and "bad stopped early: worse than good" in " ".join(compared.stdout.split())


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
    found = pirig(folder, *base, *words)
    assert (found.returncode, "Traceback" in found.stderr) == (2, False), found.stderr
    assert message in " ".join(found.stderr.split())
    assert not (folder / "results/libero/runs/refused").exists()


def test_a_declaration_after_the_first_episode_is_refused(folder):
    words = (*TASKS, "--policy", "zero", "--replan-steps", "5", "--num-trials-per-task", "1", "--run", "late")
    assert pirig(folder, *words).returncode == 0
    found = pirig(folder, *words, *STOP)
    assert found.returncode == 2 and "2 episodes of run late are there already" in found.stderr
