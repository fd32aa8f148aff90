"""`pirig serve` and the reference's entry points."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from pirig.cli.args import plain
from pirig.serving.client import RemotePolicy

ROOT = pathlib.Path(__file__).parents[2]
SERVE = [sys.executable, str(ROOT / "scripts/serve_policy.py")]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_with_zero(number):
    port = free_port()
    words = ["--env", "LIBERO", "--port", str(port), "policy:baseline", "--policy.name", "zero"]
    server = subprocess.Popen([*SERVE, *words], stderr=subprocess.PIPE, text=True)
    remote = RemotePolicy("localhost", port, connect_timeout_s=30)
    assert remote.metadata == {"name": "zero", "observations": []}
    assert remote.infer({"prompt": "wait"})["actions"].shape == (10, 7)
    server.send_signal(number)
    assert "Traceback" not in server.communicate(timeout=30)[1]
    assert server.returncode == 0


def test_what_is_only_prepared_is_not_served():
    words = ["--prepare", "policy:baseline", "--policy.name", "zero"]
    found = subprocess.run([*SERVE, *words], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0
    assert "serving" not in found.stderr


@pytest.mark.parametrize(
    "words",
    [
        "--env LIBERO",
        "policy:checkpoint --policy.config pi05_libero --policy.dir gs://openpi-assets/checkpoints/pi05_libero",
        "--env LIBERO policy:checkpoint --policy.config pi05_libero --policy.dir gs://openpi-assets/checkpoints/pi05_libero",
        "--default-prompt wait policy:default",
    ],
)
def test_the_references_command_lines_mean_the_published_checkpoint(words, tmp_path):
    """Which is not on this machine."""
    env = {**os.environ, "PIRIG_OFFLINE": "1", "OPENPI_DATA_HOME": str(tmp_path)}
    found = subprocess.run([*SERVE, *words.split()], capture_output=True, text=True, env=env)
    assert found.returncode == 4
    assert "Traceback" not in found.stderr
    assert "gs://openpi-assets/checkpoints/pi05_libero is not in the cache" in found.stderr
    assert f"looked for {tmp_path}/openpi-assets/checkpoints/pi05_libero" in found.stderr


def test_a_port_in_use_is_a_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ["--host", "127.0.0.1", "--port", port, "policy:baseline"]
        found = subprocess.run([*SERVE, *words], capture_output=True, text=True)
    assert found.returncode == 4
    assert f"cannot listen on 127.0.0.1:{port}" in found.stderr


def test_both_spellings_of_a_flag_mean_the_same():
    words = ["--args.seed", "7", "--args.headless", "--no-args.fresh", "--seed=7", "policy:checkpoint", "--policy.dir"]
    assert [plain(word) for word in words] == [
        "--seed", "7", "--headless", "--no-fresh", "--seed=7", "policy:checkpoint", "--policy.dir",
    ]  # fmt: skip


def run_script(tmp_path, **variables):
    script = ROOT / "examples/libero/run_headless_eval.sh"
    environment = {name: value for name, value in os.environ.items() if name != "CKPT"}
    return subprocess.run(
        [script], env={**environment, "PYTHON": sys.executable, **variables}, capture_output=True, text=True
    )


def test_the_headless_script_wants_a_checkpoint(tmp_path):
    assert "set CKPT to the directory of a checkpoint" in run_script(tmp_path).stderr
    missing = run_script(tmp_path, CKPT=str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert "there is no such directory" in missing.stderr


def test_the_headless_script_reaches_the_evaluator(tmp_path):
    found = run_script(tmp_path, CKPT=str(tmp_path), TASK_SUITE="libero_gaol", NUM_TRIALS="2")
    assert found.returncode == 2
    assert "unknown suite 'libero_gaol'" in found.stderr
