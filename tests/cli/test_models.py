"""Tiny checkpoints, end to end: served, evaluated, made and inspected as a user does it."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from pirig.results.store import RunStore
from pirig.serving.client import RemotePolicy
from support import tiny

ROOT = pathlib.Path(__file__).parents[2]
PIRIG = [sys.executable, "-m", "pirig.cli.main"]
NAME = "pi05_libero_tiny"
EPISODES = ["--task-suite-name", "libero_spatial", "--task-ids", "0", "3", "--trials", "0", "--video", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a checkpoint and a tokenizer."""
    return tiny.workspace(tmp_path_factory.mktemp("models"), NAME)


def environment(folder, **more):
    return {**os.environ, "OPENPI_DATA_HOME": str(folder / "home"), "PIRIG_OFFLINE": "1", **more}


def run(folder, *words, **variables):
    return subprocess.run(words, cwd=folder, env=environment(folder, **variables), capture_output=True, text=True)


def results(folder, name):
    """What must be equal, by episode."""
    return {r.spec: r.outcome() for r in RunStore.read(folder / "results/libero/runs" / name).results()}


def evaluate(folder, name, *words):
    found = run(folder, sys.executable, ROOT / "examples/libero/main.py", *EPISODES, "--args.run", name, *words)
    assert found.returncode == 0, found.stderr
    outcomes = results(folder, name)
    assert len(outcomes) == 2
    assert all(status == "failure" for status, *_ in outcomes.values())
    return outcomes


class Server:
    """`scripts/serve_policy.py` with the checkpoint, while the block runs."""

    def __init__(self, folder, *words):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        serve = [sys.executable, ROOT / "scripts/serve_policy.py", "--port", str(self.port), *words]
        source = ["policy:checkpoint", "--policy.config", NAME, "--policy.dir", "ckpt"]
        self.log = open(folder / f"server{self.port}.log", "w+")  # noqa: SIM115
        self.process = subprocess.Popen([*serve, *source], cwd=folder, env=environment(folder), stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        assert self.process.returncode == 0


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_headless_and_over_a_websocket_the_same_bits(folder, backend):
    """Two LIBERO tasks; the policy in a host behind a pipe, and behind a socket."""
    headless = ["--args.headless", "--args.policy-config", NAME, "--args.policy-dir", "ckpt", "--backend", backend]
    alone = evaluate(folder, f"headless-{backend}", *headless, "--workers", "2")
    with Server(folder, "--backend", backend) as server:
        served = evaluate(folder, f"served-{backend}", "--args.port", str(server.port), "--workers", "1")
    assert served == alone
    manifest = json.loads((folder / f"results/libero/runs/headless-{backend}/manifest.json").read_text())
    said = manifest["configuration"]["policy_metadata"]
    assert (said["backend"], said["dtype"], said["recipe"]) == (backend, "bfloat16", NAME)
    assert said["checkpoint"]
    if backend == "torch":
        everything_here = [*headless, "--workers", "0", "--args.task-ids", "3"]
        found = run(folder, *PIRIG, "eval", *EPISODES, *everything_here, "--run", "here")
        assert found.returncode == 0, found.stderr
        ((spec, outcome),) = results(folder, "here").items()
        assert outcome == alone[spec]


def test_a_server_answers_when_it_is_ready_and_batches_its_clients(folder):
    with Server(
        folder, "--backend", "torch", "--dtype", "float32", "--max-batch", "2", "--default-prompt", "wait"
    ) as server:
        remote = RemotePolicy("localhost", server.port, connect_timeout_s=60)
        assert remote.metadata["dtype"] == "float32"
        picture = np.zeros((224, 224, 3), np.uint8)
        obs = {"observation/image": picture, "observation/wrist_image": picture, "observation/state": np.zeros(8)}
        answer = remote.infer(obs)
        assert answer["actions"].shape == (10, 7)
        assert answer["actions"].dtype == np.float64
        assert 0 < answer["policy_timing"]["infer_ms"] <= answer["server_timing"]["infer_ms"]
        assert np.array_equal(remote.infer({**obs, "prompt": "wait"})["actions"], answer["actions"])
        remote.close()


@pytest.mark.parametrize("layout", ["orbax", "safetensors"])
def test_a_random_checkpoint_is_made_and_inspected(folder, layout):
    made = run(folder, *PIRIG, "checkpoint", "random", "pi0_libero_tiny", f"random-{layout}", "--layout", layout)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == [f"random-{layout}"]
    found = run(folder, *PIRIG, "checkpoint", "inspect", f"random-{layout}")
    lines = dict(line.split(maxsplit=1) for line in found.stdout.replace("norm stats", "norm_stats").splitlines())
    assert lines["layout"] == f"{layout}, {50 if layout == 'orbax' else 124} arrays"
    assert lines["parameters"] == "475,776 (475,776 bfloat16)"
    assert lines["recipes"] == "pi0_libero_tiny"
    assert lines["norm_stats"] == "physical-intelligence/libero"
    again = run(folder, *PIRIG, "checkpoint", "random", "pi0_libero_tiny", f"random-{layout}", "--layout", layout)
    assert again.returncode == 2
    assert f"random-{layout} exists" in again.stderr


def test_quantization_that_matches_nothing_is_refused(folder):
    words = ["eval", "--policy", NAME, "--policy-dir", "ckpt"]
    found = run(folder, *PIRIG, *words, OPENPI_DUQUANT_SCOPE="model.layers.")
    assert found.returncode == 2
    assert "no layer matches SCOPE='model.layers.', of 56" in found.stderr


def test_a_missing_tokenizer_is_named_with_its_place(folder):
    words = ["eval", "--policy", NAME, "--policy-dir", "ckpt"]
    found = run(folder, *PIRIG, *words, OPENPI_DATA_HOME=str(folder / "empty"))
    assert found.returncode == 4
    assert "Traceback" not in found.stderr
    assert f"there is no tokenizer at {folder}/empty/big_vision/paligemma_tokenizer.model" in found.stderr


def test_a_checkpoint_of_another_model_is_refused_before_the_simulator_starts(folder):
    found = run(folder, *PIRIG, "eval", "--policy", "pi0_libero_tiny", "--policy-dir", "ckpt")
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "it looks like a checkpoint of π0.5: choose another recipe" in found.stderr
