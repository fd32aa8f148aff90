"""`pirig eval` as a user runs it: in a process of its own, on the real simulator where there is something to run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from pirig.results.store import RunStore
from support.page_text import parse

PIRIG = [sys.executable, "-m", "pirig.cli.main"]
EPISODES = [
    "--suite",
    "libero_object",
    "--policy",
    "scripted",
    "--task-ids",
    "0",
    "2",
    "--trials",
    "0",
    "1",
    "--workers",
    "2",
    "--video",
    "none",
]


def pirig(folder, *words, **variables):
    env = {**os.environ, "PIRIG_OFFLINE": "1", "OPENPI_DATA_HOME": str(folder / "home"), **variables}
    return subprocess.run(
        [*PIRIG, *words], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env
    )


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
    "results": ("--policy zero --results-out-path file/results", 2, "cannot write to file/results"),
    "videos": ("--policy zero --video-out-path file/videos", 2, "cannot write to file/videos"),
    "flag": ("--policy zero --nmu-trials 3", 2, "Unrecognized options: --nmu-trials"),
}


@pytest.mark.parametrize(("flags", "code", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_a_clear_error(tmp_path, flags, code, message):
    (tmp_path / "file").write_text("")
    found = pirig(tmp_path, "eval", *flags.split())
    assert (found.returncode, "Traceback" in found.stderr) == (code, False), found.stderr
    assert message in " ".join(found.stderr.split())


def test_a_chunk_shorter_than_replan_steps_stops_the_run_before_the_first_episode(tmp_path):
    flags = "--suite libero_object --policy zero --task-ids 0 --trials 0 --replan-steps 11 --video none"
    found = pirig(tmp_path, "eval", *flags.split())
    assert found.returncode == 4
    assert "Traceback" not in found.stderr
    assert "replan_steps is 11, but the policy's chunk has 10 actions; use --replan-steps 10 or less" in found.stderr


def test_an_unknown_command_names_those_there_are(tmp_path):
    found = pirig(tmp_path, "evaluate")
    assert found.returncode == 2
    assert "no command 'evaluate'; there are: eval, serve" in found.stderr


def start(folder, *more):
    return subprocess.Popen(
        [*PIRIG, "eval", *EPISODES, *more], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_results(folder, count):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        lines = [path.read_bytes().count(b"\n") for path in folder.glob("results/libero/runs/*/episodes.jsonl")]
        if lines and lines[0] >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} results in time")


def exports(folder):
    csv = (folder / "results/libero/libero_object_results.csv").read_bytes()
    return csv, json.loads((folder / "results/libero/libero_object_results.json").read_text())


def test_a_run_that_is_stopped_and_killed_ends_like_one_that_is_left_alone(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    alone = pirig(whole, "eval", *EPISODES)
    assert alone.returncode == 0, alone.stderr
    assert "4 of 4 episodes succeeded" in alone.stdout, alone.stderr

    stopped = start(cut)
    wait_for_results(cut, 1)
    stopped.send_signal(signal.SIGTERM)
    output = stopped.communicate(timeout=60)[0]
    assert stopped.returncode == 143, output
    assert "INCOMPLETE" in output, output
    assert "Traceback" not in output, output

    killed = start(cut)
    wait_for_results(cut, 2)
    time.sleep(1)  # into the next episodes
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)

    resumed = pirig(cut, "eval", *EPISODES)
    assert resumed.returncode == 0, resumed.stderr
    assert "of 4 episodes are there already" in resumed.stderr, resumed.stderr
    assert exports(cut) == exports(whole)
    csv, summary = exports(whole)
    assert csv.splitlines()[1] == b"0,pick up the alphabet soup and place it in the basket,0,True,154,290"
    assert (summary["complete"], summary["headless"], summary["seed"]) == (True, True, 7)

    again = pirig(whole, "eval", *EPISODES, "--simulator", "reference")  # the same run: bits do not depend on it
    assert again.returncode == 0
    assert "4 of 4 episodes are there already" in again.stderr

    run = next((whole / "results/libero/runs").iterdir())
    page = parse((run / "report.html").read_text())
    assert "4 of 4 episodes succeeded" in page.text
    assert "llvmpipe" in page.one("section", id="provenance").text
    assert parse((whole / "results/libero/report.html").read_text()).find("a", href=f"runs/{run.name}/report.html")
    found = list(RunStore.read(run).results())
    assert all(len(result.actions) == result.steps - 10 and result.state_hash for result in found)

    by_reference = ("--policy", f"replay:{run.name}", "--run", "again", "--simulator", "reference")
    replayed = pirig(whole, "eval", *EPISODES, *by_reference)
    assert replayed.returncode == 0, replayed.stderr
    copies = {r.spec: r.outcome() for r in RunStore.read(run.with_name("again")).results()}
    assert copies == {result.spec: result.outcome() for result in found}

    other = pirig(whole, "eval", *EPISODES, "--run", "again", "--seed", "8")
    assert other.returncode == 2
    assert "seed: the run has 7, this command 8" in other.stderr


def test_the_live_page_of_a_run_tells_what_it_is_at_and_changes_nothing(tmp_path):
    running = start(tmp_path, "--live", "0")
    address = next(line.split()[-1] for line in running.stdout if "live page: " in line)
    told = set()
    with contextlib.suppress(OSError):  # it ends
        while True:
            with urllib.request.urlopen(f"{address}state", timeout=60) as answer:
                state = json.load(answer)
            if now := state["fragments"].get("now"):
                told |= {figure.one("b").text for figure in parse(now).find("figure")}
            time.sleep(0.2)
    output = running.communicate(timeout=60)[0]
    assert running.returncode == 0, output
    assert "4 of 4 episodes succeeded" in output, output
    assert (
        {"task 0 trial 0", "task 2 trial 0"}
        <= told
        <= {f"task {i} trial {j}" for i in (0, 2) for j in (0, 1)} | {"waits"}
    )
    alone = pirig(tmp_path, "eval", *EPISODES, "--run", "alone")
    assert alone.returncode == 0, alone.stderr
    runs = [{r.spec: r.outcome() for r in RunStore.read(f).results()} for f in tmp_path.glob("results/libero/runs/*")]
    assert len(runs) == 2
    assert runs[0] == runs[1]
