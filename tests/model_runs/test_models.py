"""Tiny checkpoints, end to end: served, evaluated, made and inspected as a user does it."""

import functools
import json
import pathlib
import sys

import numpy as np
import pytest

from pirig.serving.client import RemotePolicy
from support import command, tiny

ROOT = pathlib.Path(__file__).parents[2]
MAIN = [sys.executable, str(ROOT / "examples/libero/main.py")]
SERVE = [sys.executable, str(ROOT / "scripts/serve_policy.py")]
NAME = "pi05_libero_tiny"
EPISODES = ["--task-suite-name", "libero_spatial", "--trials", "0", "--replan-steps", "10", "--video", "none"]
HEADLESS = ["--args.headless", "--args.policy-config", NAME, "--args.policy-dir", "ckpt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a checkpoint and a tokenizer."""
    return tiny.workspace(tmp_path_factory.mktemp("models"), NAME)


def evaluate(folder, name, *words):
    """With the reference's entry point."""
    process = command.start(folder, *EPISODES, "--args.run", name, *words, program=MAIN)
    _, err = process.communicate(timeout=command.WITHIN_S)
    assert process.returncode == 0, err
    outcomes = command.outcomes(folder, name)
    assert all(status == "failure" for status, *_ in outcomes.values())
    return outcomes


def serving(folder, *words, **variables):
    """`scripts/serve_policy.py` with the checkpoint; yields its address."""
    checkpoint = ["policy:checkpoint", "--policy.config", NAME, "--policy.dir", "ckpt"]
    return command.serving(folder, *words, *checkpoint, program=SERVE, **variables)


@pytest.fixture(scope="module")
def headless(folder):
    """By backend: the outcomes with the policy in a host behind a pipe, in PyTorch of two tasks with two workers."""
    tasks = {"jax": ["--task-ids", "3", "--workers", "1"], "torch": ["--task-ids", "0", "3", "--workers", "2"]}

    @functools.cache
    def outcomes(backend):
        return evaluate(folder, f"headless-{backend}", *HEADLESS, "--backend", backend, *tasks[backend])

    return outcomes


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_manifest_says_what_was_evaluated(folder, headless, backend):
    assert len(headless(backend)) == {"jax": 1, "torch": 2}[backend]
    manifest = json.loads((folder / f"results/libero/runs/headless-{backend}/manifest.json").read_text())
    metadata = manifest["configuration"]["policy_metadata"]
    assert (metadata["backend"], metadata["dtype"], metadata["recipe"]) == (backend, "bfloat16", NAME)
    assert metadata["checkpoint"]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_headless_and_over_a_websocket_the_same_bits(folder, headless, backend):
    """Where JAX compiles, each process compiles for itself."""
    with serving(folder, "--backend", backend, JAX_COMPILATION_CACHE_DIR=str(folder / "empty")) as address:
        port = address.rpartition(":")[2]
        served = evaluate(folder, f"served-{backend}", "--args.port", port, "--task-ids", "3", "--workers", "1")
    assert len(served) == 1
    assert served == {spec: headless(backend)[spec] for spec in served}


def test_everything_in_one_process_gives_the_same_bits(folder, headless):
    here = evaluate(folder, "here", *HEADLESS, "--backend", "torch", "--workers", "0", "--args.task-ids", "3")
    assert len(here) == 1
    assert here == {spec: headless("torch")[spec] for spec in here}


def test_a_server_answers_when_it_is_ready_and_batches_its_clients(folder):
    words = ["--backend", "torch", "--dtype", "float32", "--max-batch", "2", "--default-prompt", "wait"]
    with serving(folder, *words) as address:
        remote = RemotePolicy(address, None, connect_timeout_s=60)
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
    words = ("checkpoint", "random", "pi0_libero_tiny", f"random-{layout}", "--layout", layout)
    made = command.call(folder, *words)
    assert made.code == 0, made.err
    assert made.out.split() == [f"random-{layout}"]
    inspected = command.call(folder, "checkpoint", "inspect", f"random-{layout}").out
    lines = dict(line.split(maxsplit=1) for line in inspected.replace("norm stats", "norm_stats").splitlines())
    assert lines["layout"] == f"{layout}, {50 if layout == 'orbax' else 124} arrays"
    assert lines["parameters"] == "475,776 (475,776 bfloat16)"
    assert lines["recipes"] == "pi0_libero_tiny"
    assert lines["norm_stats"] == "physical-intelligence/libero"
    again = command.call(folder, *words)
    assert again.code == 2
    assert f"random-{layout} exists" in again.err


def test_quantization_that_matches_nothing_is_refused(folder):
    words = ["eval", "--policy", NAME, "--policy-dir", "ckpt"]
    ended = command.call(folder, *words, OPENPI_DUQUANT_SCOPE="model.layers.")
    assert ended.code == 2
    assert "no layer matches SCOPE='model.layers.', of 56" in ended.err


def test_a_missing_tokenizer_is_named_with_its_place(folder):
    words = ["eval", "--policy", NAME, "--policy-dir", "ckpt"]
    ended = command.call(folder, *words, OPENPI_DATA_HOME=str(folder / "empty"))
    assert ended.code == 4
    assert "Traceback" not in ended.err
    assert f"there is no tokenizer at {folder}/empty/big_vision/paligemma_tokenizer.model" in ended.text


def test_a_checkpoint_of_another_model_is_refused_before_the_simulator_starts(folder):
    ended = command.call(folder, "eval", "--policy", "pi0_libero_tiny", "--policy-dir", "ckpt")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert "it looks like a checkpoint of π0.5: choose another recipe" in ended.err
