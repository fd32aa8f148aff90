"""`pirig eval --suite all`: one queue, and each suite's files as if it had been run alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pirig.results.store import RunStore
from pirig.sim.suites import STANDARD_SUITES

PIRIG = [sys.executable, "-m", "pirig.cli.main"]
EPISODES = ["--policy", "scripted", "--task-ids", "0", "--num-trials-per-task", "2", "--video", "none"]


def start(folder, *words):
    return subprocess.Popen(
        [*PIRIG, "eval", *EPISODES, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, log = process.communicate(timeout=400)
    return process.returncode, out, log


def exported(folder):
    return {path.name: path.read_bytes() for path in (folder / "results/libero").glob("*_results.*")}


def recorded(folder):
    stores = [RunStore.read(path.parent) for path in folder.glob("results/libero/runs/*/manifest.json")]
    return {store.directory.name: {r.spec: r.outcome() for r in store.results()} for store in stores}


def test_all_suites_in_one_queue_write_what_each_writes_alone(tmp_path):
    """Stopped in the middle and gone on with, too."""
    together, apart = tmp_path / "together", tmp_path / "apart"
    together.mkdir()
    apart.mkdir()
    running = start(together, "--suite", "all", "--workers", "2")
    lines = []
    while not lines and running.poll() is None:
        time.sleep(0.05)
        lines = [path for path in together.glob("results/libero/runs/*/episodes.jsonl") if b"\n" in path.read_bytes()]
    running.send_signal(signal.SIGTERM)
    code, out, log = finish(running)
    assert code == 143, log
    assert out.count("INCOMPLETE") >= 3, log
    assert "Traceback" not in log, log
    assert len(lines) == 1
    assert "libero_10" in str(lines[0])

    code, out, log = finish(start(together, "--suite", "all", "--workers", "3"))
    assert code == 0, log
    verdicts = [line.partition(":")[0] for line in out.splitlines() if ": complete, " in line]
    assert verdicts == list(STANDARD_SUITES)

    for suite in STANDARD_SUITES:
        code, out, log = finish(start(apart, "--suite", suite, "--workers", "1"))
        assert code == 0, log
    assert len(exported(together)) == 8
    assert exported(together) == exported(apart)
    assert len(recorded(together)) == 4
    assert recorded(together) == recorded(apart)
    for suite in STANDARD_SUITES:
        summary = json.loads((together / f"results/libero/{suite}_results.json").read_text())
        manifest = json.loads((together / "results/libero/runs" / summary["run"] / "manifest.json").read_text())
        assert manifest["complete"]
        assert manifest["planned"] == 2
        assert sum(session["episodes"] for session in manifest["sessions"]) == 2
        assert (together / "results/libero/runs" / summary["run"] / "report.html").exists()


@pytest.mark.parametrize("words", [["--run", "night"], []])
def test_each_suite_has_a_folder_of_its_own(tmp_path, words):
    """Which is there before the first episode, so that a mixture is refused before anything runs."""
    (tmp_path / "results/libero/runs/night-libero_goal").mkdir(parents=True)
    with RunStore.open(tmp_path / "results/libero/runs/night-libero_goal", {"suite": "another"}):
        pass
    if words:
        code, _, log = finish(start(tmp_path, "--suite", "all", *words))
        assert code == 2
        assert "run night-libero_goal was made with another configuration" in log
        assert not list(tmp_path.glob("results/libero/runs/*/episodes.jsonl"))
        return
    running = start(tmp_path, "--suite", "all", "--workers", "1")
    names = set()
    while len(names) < 4 and running.poll() is None:
        time.sleep(0.05)
        names = {path.name for path in tmp_path.glob("results/libero/runs/*-scripted-*")}
    os.kill(running.pid, signal.SIGTERM)
    finish(running)
    assert {name.partition("-")[0] for name in names} == set(STANDARD_SUITES)
