"""Four workers, one process and a server: the same files and final states, on 20 scripted and 4 model episodes."""

import os
import re
import subprocess
import sys

import pytest

from pirig.results.store import RunStore
from support import tiny

PIRIG = [sys.executable, "-m", "pirig.cli.main"]
NAME = "pi05_libero_tiny"
SCRIPTED = ["--suite", "libero_object", "--num-trials-per-task", "2"]
MODEL = ["--suite", "libero_goal", "--task-ids", "1", "8", "--num-trials-per-task", "2"]
SERVES = {"scripted": ["policy:baseline", "--policy.name", "scripted"],
          NAME: ["policy:checkpoint", "--policy.config", NAME, "--policy.dir", "ckpt"]}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.workspace(tmp_path_factory.mktemp("ways"), NAME)


def evaluate(folder, way, words):
    """The suite's CSV, and each episode's outcome."""
    env = {**os.environ, "OPENPI_DATA_HOME": str(folder / "home"), "PIRIG_OFFLINE": "1"}
    output = ["--results-out-path", way, "--run", "run", "--video", "none"]
    found = subprocess.run([*PIRIG, "eval", *words, *output], cwd=folder, env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    (csv,) = (folder / way).glob("*_results.csv")
    return csv.read_bytes(), {r.spec: r.outcome() for r in RunStore.read(folder / way / "runs/run").results()}


def served(folder, policy, words):
    env = {**os.environ, "OPENPI_DATA_HOME": str(folder / "home"), "PIRIG_OFFLINE": "1"}
    words_of_server = [*PIRIG, "serve", "--port", "0", *SERVES[policy]]
    with subprocess.Popen(words_of_server, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stderr if "serving policy" in line)
            address = re.search(r"ws://\S+", line)[0]
            return evaluate(folder, f"served-{policy}", [*words, "--policy", address, "--workers", "2"])
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "words", "episodes"), [("scripted", SCRIPTED, 20), (NAME, MODEL, 4)])
def test_every_way_gives_the_same(folder, policy, words, episodes):
    here = [*words, "--policy", policy, *(["--policy-dir", "ckpt"] if policy == NAME else [])]
    many = evaluate(folder, f"many-{policy}", [*here, "--workers", "4"])
    one = evaluate(folder, f"one-{policy}", [*here, "--workers", "0"])
    assert many == one
    assert served(folder, policy, words) == one
    assert len(one[1]) == episodes
    assert len({state for _, _, state, _ in one[1].values()}) == episodes
