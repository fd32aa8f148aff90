"""`pirig eval --executor ray` on a simulated cluster of three nodes, as a user runs it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pirig.results.store import RunStore
from support import tiny

pytest.importorskip("ray", reason="make setup-ray")

PIRIG = [sys.executable, "-m", "pirig.cli.main"]
NAME = "pi05_libero_tiny"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Its nodes have a tokenizer and may not fetch another."""
    monkeypatch.setenv("OPENPI_DATA_HOME", str(tmp_path / "home"))
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 200 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.workers = [made.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(3)]
    yield made
    with contextlib.suppress(Exception):
        made.shutdown()


def start(folder, *words):
    env = {**os.environ, "OPENPI_DATA_HOME": str(folder / "home"), "PIRIG_OFFLINE": "1"}
    return subprocess.Popen([*PIRIG, "eval", *words], cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def finished(process):
    log = process.communicate(timeout=900)[1]
    assert process.returncode == 0, log
    return log


def results(folder, run):
    return {r.spec: r.outcome() for r in RunStore.read(folder / "results/libero/runs" / run).results()}


def wait_for_results(folder, run, count, process):
    lines = folder / "results/libero/runs" / run / "episodes.jsonl"
    deadline = time.monotonic() + 400
    while process.poll() is None and time.monotonic() < deadline:
        if lines.exists() and lines.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.1)


@pytest.mark.slow
def test_forty_episodes_on_three_nodes_of_which_one_is_lost_are_those_of_one_process(cluster, tmp_path):
    episodes = ["--suite", "libero_object", "--policy", "scripted", "--num-trials-per-task", "4", "--video", "none"]
    running = start(tmp_path, *episodes, "--run", "ray", "--executor", "ray", "--ray-address", cluster.address)
    wait_for_results(tmp_path, "ray", 8, running)
    cluster.remove_node(cluster.workers[1], allow_graceful=False)
    log = finished(running)
    assert "is lost" in log, log
    finished(start(tmp_path, *episodes, "--run", "one", "--workers", "0"))
    assert len(results(tmp_path, "ray")) == 40
    assert results(tmp_path, "ray") == results(tmp_path, "one")
    lines = (tmp_path / "results/libero/runs/ray/episodes.jsonl").read_bytes().splitlines()
    assert not [line for line in lines if json.loads(line)["status"] == "error"], "a lost node is nobody's error"


def test_a_run_that_is_stopped_on_a_cluster_goes_on_here(cluster, tmp_path):
    episodes = ["--suite", "libero_object", "--policy", "scripted", "--task-ids", "0", "2", "--video", "none",
                "--num-trials-per-task", "2"]  # fmt: skip
    running = start(tmp_path, *episodes, "--run", "ray", "--executor", "ray", "--ray-address", cluster.address)
    wait_for_results(tmp_path, "ray", 1, running)
    running.send_signal(signal.SIGTERM)
    log = running.communicate(timeout=120)[1]
    assert running.returncode == 143, log
    assert "SIGTERM: stopped" in log, log
    assert "Traceback" not in log, log
    log = finished(start(tmp_path, *episodes, "--run", "ray", "--workers", "1"))
    assert "of 4 episodes are there already" in log, log
    finished(start(tmp_path, *episodes, "--run", "one", "--workers", "1"))
    assert len(results(tmp_path, "ray")) == 4
    assert results(tmp_path, "ray") == results(tmp_path, "one")


def test_a_model_on_a_cluster_gives_what_it_gives_here_and_videos_come_home(cluster, tmp_path):
    tiny.workspace(tmp_path, NAME)
    episodes = ["--suite", "libero_spatial", "--policy", NAME, "--policy-dir", "ckpt", "--task-ids", "0", "3",
                "--num-trials-per-task", "1", "--backend", "torch"]  # fmt: skip
    there = ["--run", "ray", "--executor", "ray", "--ray-address", cluster.address, "--workers", "2"]
    finished(start(tmp_path, *episodes, *there))
    finished(start(tmp_path, *episodes, "--run", "one", "--workers", "1", "--video", "none"))
    assert len(results(tmp_path, "ray")) == 2
    assert results(tmp_path, "ray") == results(tmp_path, "one")
    videos = sorted((tmp_path / "data/libero/videos/ray").glob("*.mp4"))
    assert len(videos) == 2
    assert all(video.stat().st_size > 10_000 for video in videos)
    session = json.loads((tmp_path / "results/libero/runs/ray/manifest.json").read_text())["sessions"][0]
    assert len(session["started_workers"]) == 2
    assert all(worker["node"] for worker in session["started_workers"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--executor ray does not"),
        (["--policy-hosts", "2"], "--policy-hosts is of one machine"),
        (["--ray-address", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(tmp_path, words, message):
    process = start(tmp_path, "--policy", "zero", "--executor", "ray", *words)
    log = process.communicate(timeout=120)[1]
    assert process.returncode in (2, 4), log
    assert message in " ".join(log.split()), log
    assert "Traceback" not in log, log
