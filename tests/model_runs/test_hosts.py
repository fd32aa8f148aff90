"""`pirig eval` with two policy hosts, as on two GPUs, here on the CPU with a tiny checkpoint."""

import json
import os
import pathlib
import signal

import pytest

from support import command, tiny

NAME = "pi05_libero_tiny"
EPISODES = ["--suite", "libero_spatial", "--policy", NAME, "--policy-dir", "ckpt", "--task-ids", "0",
            "--trials", "0", "1", "--replan-steps", "10", "--backend", "torch", "--workers", "2",
            "--video", "none"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.workspace(tmp_path_factory.mktemp("hosts"), NAME)


def start(folder, name, *words):
    """With two threads for each host: how many there are decides the last bits."""
    return command.start(folder, "eval", *EPISODES, "--run", name, *words, OMP_NUM_THREADS="2")


def finished(process):
    _, err = process.communicate(timeout=command.WITHIN_S)
    assert process.returncode == 0, err
    return err


def session(folder, name):
    manifest = json.loads((folder / "results/libero/runs" / name / "manifest.json").read_text())
    return manifest["sessions"][0]


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


@pytest.fixture(scope="module")
def one(folder):
    """Outcomes with one policy host."""
    finished(start(folder, "one", "--workers", "1"))
    assert len(session(folder, "one")["policy_hosts"]) == 1
    return command.outcomes(folder, "one")


def test_two_hosts_share_the_work(folder, one):
    finished(start(folder, "two", "--policy-hosts", "2"))
    assert command.outcomes(folder, "two") == one
    assert len(one) == 2
    hosts = session(folder, "two")["policy_hosts"]
    shares = [sum(size["batches"] for size in host.values()) for host in hosts]
    assert len(shares) == 2
    assert min(shares) >= 0.3 * max(shares), "an episode, or 22 batches, each"


@pytest.mark.slow
def test_a_host_that_is_killed_costs_no_episode_and_changes_none(folder, one):
    running = start(folder, "killed", "--policy-hosts", "2", "--trials", "0", "1", "2")
    lines = command.wait_for_results(folder, 1, running, "killed")
    victims = hosts_of(running.pid)
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    log = finished(running)
    assert "died with signal SIGKILL; starting it again" in log
    found = command.outcomes(folder, "killed")
    assert {spec: found[spec] for spec in one} == one
    assert len(found) == 3
    assert lines.read_bytes().count(b"\n") == 3, "no result was lost, and none was an error"
