"""`pirig doctor` on this machine, whole and with one thing broken at a time."""

import json
import os
import socket
import subprocess
import sys

import pytest

DOCTOR = [sys.executable, "-m", "pirig.cli.main", "doctor"]


def doctor(folder, *words, **variables):
    env = {**os.environ, "OPENPI_DATA_HOME": str(folder / "home"), **variables}
    found = subprocess.run([*DOCTOR, "--json", *words], capture_output=True, text=True, env=env)
    assert "Traceback" not in found.stderr, found.stderr
    return found.returncode, {finding["check"]: finding for finding in json.loads(found.stdout)}


def test_this_machine_can_evaluate(tmp_path):
    code, found = doctor(tmp_path)
    assert code == 0, found
    assert "mujoco 3.2.3" in found["versions"]["found"]
    assert found["assets"]["status"] == "ok"
    assert found["rendering"]["status"] == "ok"
    assert " on " in found["rendering"]["found"]
    assert found["model backends"]["status"] == "ok"
    assert "GiB free" in found["memory"]["found"]
    assert all(finding["fix"] for finding in found.values() if finding["status"] != "ok")


@pytest.mark.parametrize(
    ("variables", "words", "check", "message"),
    [
        ({"MUJOCO_GL": "elg"}, [], "rendering", "MUJOCO_GL=elg: unknown back end; there are: egl, osmesa, glx"),
        ({"MUJOCO_GL": "glx", "DISPLAY": ""}, [], "rendering", "cannot"),
        (
            {"PIRIG_LIBERO_ASSETS": "/usr"},
            [],
            "assets",
            "LIBERO's 166 asset files in /usr are not what they must",
        ),
        ({}, ["--policy", "model"], "tokenizer", "not at "),
    ],
)
def test_what_would_stop_an_evaluation_is_an_error(tmp_path, variables, words, check, message):
    code, found = doctor(tmp_path, *words, **variables)
    assert code == 4, found[check]
    assert found[check]["status"] == "error", found[check]
    assert message in found[check]["found"], found[check]


def test_a_port_in_use_is_named_as_programs_say_it(tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        number = taken.getsockname()[1]
        _, found = doctor(tmp_path, "--port", str(number))
    assert found["port"]["status"] == "warning"
    assert "bind: address already in use" in found["port"]["found"]
    assert str(number) in found["port"]["fix"]


def test_without_docker_there_is_a_way_out(tmp_path):
    (tmp_path / "bin").mkdir()
    _, found = doctor(tmp_path, PATH=str(tmp_path / "bin"))
    assert found["engine"]["status"] == "warning"
    assert "MODE=local" in found["engine"]["fix"]


def test_a_person_reads_one_line_for_each_check(tmp_path):
    env = {**os.environ, "OPENPI_DATA_HOME": str(tmp_path)}
    found = subprocess.run(DOCTOR, capture_output=True, text=True, env=env)
    assert found.returncode == 0
    assert found.stdout.splitlines()[-1].endswith("warnings")
    assert "fix: pirig checkpoint fetch gs://big_vision/paligemma_tokenizer.model" in found.stdout
