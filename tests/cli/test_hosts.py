"""`pirig eval` with two policy hosts, as on two GPUs, here on the CPU with a tiny checkpoint."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from pirig.results.store import RunStore
from support import tiny

PIRIG = [sys.executable, "-m", "pirig.cli.main"]
NAME = "pi05_libero_tiny"
EPISODES = ["--suite", "libero_spatial", "--policy", NAME, "--policy-dir", "ckpt", "--task-ids", "0", "3",
            "--num-trials-per-task", "2", "--backend", "torch", "--workers", "2", "--video", "none"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.workspace(tmp_path_factory.mktemp("hosts"), NAME)


def start(folder, name, *words):
    env = {**os.environ, "OPENPI_DATA_HOME": str(folder / "home"), "PIRIG_OFFLINE": "1"}
    env.pop("OMP_NUM_THREADS", None)  # hosts choose, and must choose alike
    command = [*PIRIG, "eval", *EPISODES, "--run", name, *words]
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def outcome(folder, name):
    store = RunStore.read(folder / "results/libero/runs" / name)
    return {r.spec: r.outcome() for r in store.results()}, json.loads((store.directory / "manifest.json").read_text())


def hosts_of(pid):
    """The policy hosts of the command: those of its children that have threads named after serving."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = []
    for child in children:
        fds = pathlib.Path(f"/proc/{child}/fd")
        inodes = {os.readlink(fd) for fd in fds.iterdir() if fd.exists()}
        listening = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]]
        if any(
            f"socket:[{row[6]}]" in inodes and row[-1].endswith("/policy") for row in listening if row[3] == "00010000"
        ):
            found.append(int(child))
    return found


def test_two_hosts_share_the_work_and_one_that_is_killed_costs_nothing(folder):
    one = start(folder, "one")
    assert one.wait(300) == 0, one.stderr.read()
    expected, manifest = outcome(folder, "one")
    assert len(expected) == 4
    assert len(manifest["sessions"][0]["policy_hosts"]) == 1

    two = start(folder, "two", "--policy-hosts", "2")
    assert two.wait(300) == 0, two.stderr.read()
    found, manifest = outcome(folder, "two")
    assert found == expected
    shares = [sum(size["batches"] for size in host.values()) for host in manifest["sessions"][0]["policy_hosts"]]
    assert len(shares) == 2
    assert min(shares) >= 0.3 * max(shares)

    killed = start(folder, "killed", "--policy-hosts", "2")
    deadline = time.monotonic() + 240
    lines = folder / "results/libero/runs/killed/episodes.jsonl"
    while not lines.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    victims = hosts_of(killed.pid)
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    log = killed.communicate(timeout=300)[1]
    assert killed.returncode == 0, log
    assert "died with signal SIGKILL; starting it again" in log, log
    found, _ = outcome(folder, "killed")
    assert found == expected
    assert lines.read_bytes().count(b"\n") == 4  # no result was lost, and none was an error
