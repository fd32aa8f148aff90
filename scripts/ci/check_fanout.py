"""`pirig stack` with a real engine: two policy servers, two suites, and what goes wrong meanwhile.

python scripts/ci/check_fanout.py PIRIG CSV [WORDS...]: PIRIG the command, CSV what libero_object must come to in
tasks 0 and 1, WORDS before each command (setpriv and its flags).
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from pirig.serving.client import RemotePolicy

PIRIG, EXPECTED, *AS_USER = sys.argv[1:]
STACK = [*AS_USER, PIRIG, "stack"]
PROJECT = os.environ["COMPOSE_PROJECT_NAME"]
LOGS = pathlib.Path(tempfile.mkdtemp())  # this script may be root, and the checkout is the user's
WITHIN_S = 240
RUN = [
    *(*STACK, "run", "--suite", "libero_object,libero_spatial", "--policy", "scripted", "--num-trials-per-task", "1"),
    *("--servers", "2", "--workers", "1", "--client-args=--video none --task-ids 0 1"),
]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def containers() -> list[str]:
    return docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").split()


def until(line: str, log: pathlib.Path, run: subprocess.Popen, service: str) -> None:
    """Waits for `line` in what a service says."""
    deadline = time.monotonic() + WITHIN_S
    name = f"{PROJECT}-{service}-1"
    while line not in subprocess.run(["docker", "logs", name], check=False, capture_output=True, text=True).stderr:
        assert run.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.3)


def started(log: pathlib.Path) -> subprocess.Popen:
    with open(log, "w") as file:
        return subprocess.Popen(RUN, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def an_interrupted_fan_out_leaves_nothing_running() -> None:
    log = LOGS / "interrupted.log"
    run = started(log)
    until("task 0 trial 0: success", log, run, "libero_object")
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(WITHIN_S) == 130, log.read_text()[-3000:]
    assert not containers()
    print("Ctrl-C ends the fan-out and removes its containers")


def what_dies_is_started_again() -> None:
    log = LOGS / "killed.log"
    run = started(log)
    until("INFO run libero_spatial-scripted", log, run, "libero_spatial")
    docker("kill", f"{PROJECT}-server-0-1")
    docker("kill", f"{PROJECT}-libero_spatial-1")
    assert run.wait(WITHIN_S) == 0, log.read_text()[-3000:]
    said = log.read_text()
    for service in ("server-0", "libero_spatial"):
        assert f"{service} ended (exit code 137); starting it again" in said, said[-3000:]
    assert not containers()
    found = pathlib.Path("results/libero/libero_object_results.csv").read_text().splitlines()
    assert found == pathlib.Path(EXPECTED).read_text().splitlines()[:3], found
    print("a killed server and a killed runtime were started again; the results are those of one container")


def servers_alone() -> None:
    subprocess.run([*STACK, "up", "--policy", "zero", "--servers", "2", "--port", "8123"], check=True, timeout=WITHIN_S)
    policy = RemotePolicy("127.0.0.1", 8124, connect_timeout_s=5)
    assert policy.metadata["name"] == "zero"
    policy.close()
    again = subprocess.run([*STACK, "up", "--policy", "zero"], capture_output=True, text=True, check=False)
    assert again.returncode == 2, again.stderr
    assert "the stack is running already: server-0, server-1" in again.stderr, again.stderr
    status = subprocess.run([*STACK, "status"], capture_output=True, text=True, check=True).stdout
    assert status.count("healthy") == 2, status
    logs = subprocess.run([*STACK, "logs"], capture_output=True, text=True, check=True).stdout
    assert "server-1 | " in logs, logs
    subprocess.run([*STACK, "down"], check=True, timeout=WITHIN_S)
    assert not containers()
    print("up, status, logs, down")


def a_quantized_server() -> None:
    words = ["--policy", "pi05_libero_tiny", "--policy-dir", "ckpt", "--quantize", "w8a8", "--port", "8123"]
    env = os.environ | {"OPENPI_DUQUANT_CALIB_STEPS": "2"}
    subprocess.run([*STACK, "up", *words], check=True, timeout=WITHIN_S, env=env)
    policy = RemotePolicy("127.0.0.1", 8123, connect_timeout_s=5)
    assert policy.metadata["quantization"]["name"] == "w8a8", policy.metadata
    policy.close()
    subprocess.run([*STACK, "down"], check=True, timeout=WITHIN_S)
    print("the pack of a quantized server is made first")


def a_server_that_cannot_load() -> None:
    words = [*STACK, "run", "--suite", "libero_goal", "--policy", "pi05_libero_tiny"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert found.returncode == 4, found
    assert "server-0: ended before it was ready, with exit code 2" in found.stderr, found.stderr[-3000:]
    assert "nobody has published a checkpoint of pi05_libero_tiny" in found.stderr, found.stderr[-3000:]
    assert not containers()
    print("a server that cannot load ends the fan-out with its reason")


stranger = docker("run", "--detach", "--rm", os.environ["BASE_IMAGE"], "sleep", "1200").strip()
try:
    servers_alone()
    a_quantized_server()
    a_server_that_cannot_load()
    an_interrupted_fan_out_leaves_nothing_running()
    what_dies_is_started_again()
    assert stranger in docker("ps", "-q", "--no-trunc"), "the stack has removed a container that is not its own"
finally:
    docker("kill", stranger)
    shutil.rmtree(LOGS)
