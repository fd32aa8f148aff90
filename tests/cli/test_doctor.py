"""`pirig doctor` on this machine: whole, and with several things broken. Each run takes seconds: three are shared."""

import json
import socket

import pytest

from support import command


def findings(ended):
    assert "Traceback" not in ended.err, ended.err
    return {finding["check"]: finding for finding in json.loads(ended.out)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return command.run(tmp_path_factory.mktemp("whole"), "doctor", "--json")


def test_this_machine_can_evaluate(whole):
    found = findings(whole)
    assert whole.code == 0, found
    assert "mujoco 3.2.3" in found["versions"]["found"]
    assert found["assets"]["status"] == "ok"
    assert found["rendering"]["status"] == "ok"
    assert " on " in found["rendering"]["found"]
    assert found["model backends"]["status"] == "ok"
    assert "GiB free" in found["memory"]["found"]


def test_every_complaint_comes_with_a_fix(whole):
    assert all(finding["fix"] for finding in findings(whole).values() if finding["status"] != "ok")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """An unknown GL back end, assets of something else, no tokenizer, a port in use, and no docker command."""
    folder = tmp_path_factory.mktemp("broken")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("doctor", "--json", "--policy", "model", "--port", port)
        variables = {"MUJOCO_GL": "elg", "PIRIG_LIBERO_ASSETS": "/usr", "PATH": str(folder / "no programs")}
        return command.run(folder, *words, **variables), port


def test_what_would_stop_an_evaluation_is_an_exit_code(broken):
    assert broken[0].code == 4


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("rendering", "MUJOCO_GL: unknown back end 'elg'; there are: egl, osmesa, glx"),
        ("assets", "LIBERO's 166 asset files in /usr are not what they must"),
        ("tokenizer", "not at "),
    ],
)
def test_what_would_stop_an_evaluation_is_an_error(broken, check, message):
    finding = findings(broken[0])[check]
    assert finding["status"] == "error"
    assert message in finding["found"]


def test_a_port_in_use_is_named_as_programs_say_it(broken):
    ended, port = broken
    finding = findings(ended)["port"]
    assert finding["status"] == "warning"
    assert port in finding["fix"]
    assert "bind: address already in use" in finding["found"]


def test_without_docker_there_is_a_way_out(broken):
    finding = findings(broken[0])["engine"]
    assert finding["status"] == "warning"
    assert "MODE=local" in finding["fix"]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What a person reads who has no X server for MUJOCO_GL=glx."""
    return command.run(tmp_path_factory.mktemp("printed"), "doctor", MUJOCO_GL="glx", DISPLAY="")


def test_a_back_end_without_its_server_is_an_error(printed):
    assert printed.code == 4
    (line,) = (line for line in printed.out.splitlines() if "rendering" in line)
    assert "error" in line
    assert "cannot" in printed.text


def test_a_person_reads_one_line_for_each_check(printed):
    assert printed.out.splitlines()[-1].endswith("warnings")
    assert "fix: pirig checkpoint fetch gs://big_vision/paligemma_tokenizer.model" in printed.out
