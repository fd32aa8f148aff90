"""scripts/vm/preflight.sh and install.sh on this machine: what they find, and that they change nothing."""

import hashlib
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
HAS_GPU = any(pathlib.Path("/dev").glob("nvidia[0-9]*"))
IS_UBUNTU = "ID=ubuntu" in pathlib.Path("/etc/os-release").read_text()


@pytest.fixture
def stand_ins(tmp_path):
    """A folder at the head of PATH; Python is not to be called, since a fresh VM may have none that suits."""
    for name in ("python", "python3"):
        program(tmp_path / name, f"touch {tmp_path}/python-was-called")
    yield tmp_path
    assert not (tmp_path / "python-was-called").exists()


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def script(name, *words, stand_ins, **variables):
    """Nothing outside can be reached, so that an answer is the same everywhere."""
    env = {name: value for name, value in os.environ.items() if name not in ("POLICY", "MODE", "CKPT", "SUITES")}
    env |= {
        "PATH": f"{stand_ins}:{env['PATH']}",
        "https_proxy": "http://127.0.0.1:9",
        "HOME": str(stand_ins),
        **variables,
    }
    done = subprocess.run([ROOT / "scripts/vm" / name, *words], env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def snapshot():
    files = [path for name in ("apt", "docker", "group", "sudoers.d") for path in pathlib.Path("/etc", name).rglob("*")]
    return {
        path: hashlib.sha256(path.read_bytes()).digest()
        for path in files
        if path.is_file() and os.access(path, os.R_OK)
    }


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_so_and_left_as_it_was(stand_ins):
    before = snapshot()
    code, said = script("preflight.sh", stand_ins=stand_ins)
    assert code == 1, said
    assert "error   gpu: no NVIDIA GPU, and POLICY=pi05_libero needs one" in said, said
    assert (
        "no answer from https://registry-1.docker.io/v2/ https://storage.googleapis.com" in said or "images" not in said
    )
    for line, following in zip(said.splitlines(), [*said.splitlines()[1:], ""], strict=True):
        assert following.startswith("        fix: ") == line.startswith(("error", "warning")), said
    assert snapshot() == before


def test_a_scripted_policy_without_containers_needs_little(stand_ins):
    code, said = script("preflight.sh", "run", stand_ins=stand_ins, POLICY="scripted", MODE="local")
    assert code == 0, said
    assert ": 0 errors" in said, said


@pytest.mark.parametrize(
    ("driver", "verdict", "fix"),
    [
        ("580.95.05", "ok      gpu: NVIDIA L4, 23034 MiB; driver 580.95.05", ""),
        (
            "570.195.03",
            "error   gpu: NVIDIA L4, 23034 MiB; driver 570.195.03; CUDA 13 needs 580 or newer",
            "scripts/vm/install.sh --driver, then reboot",
        ),
    ],
)
def test_the_driver_must_do_for_cuda_13(stand_ins, driver, verdict, fix):
    program(stand_ins / "nvidia-smi", f'echo "NVIDIA L4, 23034, {driver}"')
    _, said = script("preflight.sh", "run", stand_ins=stand_ins)
    lines = said.splitlines()
    assert verdict in lines, said
    assert not fix or lines[lines.index(verdict) + 1] == f"        fix: {fix}"
    assert "libEGL_nvidia.so.0" in said


@pytest.mark.parametrize(
    ("docker", "problem"),
    [
        ("exit 1", "docker has no compose plugin"),
        ('[ "$*" = "compose version --short" ] && echo 2.20.2', "docker compose is 2.20.2, and 2.24.4 is needed"),
        (
            'case "$1" in compose) echo 2.40.3 ;; *) echo "permission denied" >&2; exit 1 ;; esac',
            "permission denied while trying to connect to the Docker daemon socket",
        ),
    ],
)
def test_an_engine_that_does_not_do_is_named(stand_ins, docker, problem):
    program(stand_ins / "docker", docker)
    code, said = script("preflight.sh", "run", stand_ins=stand_ins, POLICY="scripted")
    assert code == 1, said
    assert f"error   engine: {problem}\n        fix: " in said, said


@pytest.mark.skipif(IS_UBUNTU, reason="this is an Ubuntu")
def test_install_refuses_another_system_and_changes_nothing(stand_ins):
    before = snapshot()
    code, said = script("install.sh", stand_ins=stand_ins)
    assert code == 1
    assert "install.sh knows Ubuntu 22.04 and 24.04\n        fix: create the VM from an Ubuntu 24.04" in said
    assert said.endswith("install: error: nothing was changed; see above\n")
    assert snapshot() == before


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("preflight.sh", ["instal"], "expected install, run or --driver; found 'instal'"),
        ("install.sh", ["--drivers"], "expected nothing or --driver; found '--drivers'"),
        ("reproduce.sh", ["--detatch"], "expected nothing, --detach or --stop; found '--detatch'"),
        ("fetch_results.sh", [], "expected HOST [FOLDER]; found ''"),
    ],
)
def test_a_word_that_means_nothing_is_refused(stand_ins, name, words, message):
    code, said = script(name, *words, stand_ins=stand_ins)
    assert code in (1, 2)
    assert message in said
