"""What goes wrong in containers: a server that cannot start, and Ctrl-C in the middle of a run."""

import os
import pathlib
import signal
import subprocess
import time

WITHIN_S = 240
MAKE = ["make", "--no-print-directory", "eval", "MODE=split"]
RESULTS = pathlib.Path("results/libero")


def containers() -> list[str]:
    label = f"label=com.docker.compose.project={os.environ['COMPOSE_PROJECT_NAME']}"
    return subprocess.run(
        ["docker", "ps", "-a", "--filter", label, "--format", "{{.Names}}"], check=True, capture_output=True, text=True
    ).stdout.split()


def a_server_that_cannot_load() -> None:
    found = subprocess.run([*MAKE, "POLICY=pi05_libero_tiny"], capture_output=True, text=True, timeout=WITHIN_S)
    said = (found.stdout + found.stderr).strip()
    assert found.returncode != 0, said
    assert "nobody has published a checkpoint of pi05_libero_tiny" in said, said
    assert "Error" in said.splitlines()[-1], said[-600:]
    assert "exited (2)" in said, said[-600:]
    assert not containers()
    print("a server that cannot load ends the stack with its reason")


def an_interrupted_run_goes_on() -> None:
    words = [
        *MAKE,
        "SUITE=libero_object",
        "POLICY=scripted",
        "TRIALS=1",
        "ARGS=--task-ids 0 1 2 --video none --workers 1",
    ]
    log = pathlib.Path("interrupted.log")
    with open(log, "w") as file:
        run = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + WITHIN_S
        while "task 0 trial 0: success" not in log.read_text():
            assert run.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        code = run.wait(WITHIN_S)
    assert code != 0
    assert not containers(), containers()
    kept = max(RESULTS.glob("runs/*/episodes.jsonl"), key=lambda path: path.stat().st_mtime).read_text().count("\n")
    assert 1 <= kept < 3, kept
    again = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN_S)
    assert again.returncode == 0, again.stdout[-2000:]
    assert "task 0 trial 0" not in again.stdout, again.stdout[-3000:]
    assert "3 of 3 episodes succeeded" in again.stdout, again.stdout[-3000:]
    print(f"Ctrl-C left {kept} episodes and no container; the same command did the rest")


a_server_that_cannot_load()
an_interrupted_run_goes_on()
