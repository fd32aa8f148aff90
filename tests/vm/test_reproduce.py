"""scripts/vm/reproduce.sh for real, without containers, with a policy that needs no GPU; in a copy of this checkout."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
VARIABLES = {
    "POLICY": "scripted",
    "TRIALS": "4",
    "SUITES": "libero_object",
    "MODE": "local",
    "ARGS": "--task-ids 0 1 --video none --workers 1",
    "VENV": sys.prefix,
}


@pytest.fixture
def checkout(tmp_path):
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    folder = tmp_path / "pirig"
    folder.mkdir()
    archive = subprocess.run(["tar", "--null", "-T", "-", "-c"], cwd=ROOT, input=names, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder


def reproduce(checkout, *words, **variables):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    env |= {**VARIABLES, "OPENPI_DATA_HOME": str(checkout / "home"), **variables}
    done = subprocess.run(
        [checkout / "scripts/vm/reproduce.sh", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_nothing_begins_on_a_machine_that_will_not_do(checkout):
    """Here: with an engine that cannot be used."""
    code, said = reproduce(checkout, MODE="split", DOCKER_HOST="tcp://127.0.0.1:9")
    assert code == 1, said
    assert "preflight: FAILED" in said, said
    assert "reproduce: images" not in said, said
    assert reproduce(checkout, "--stop") == (1, "reproduce: error: nothing is running here\n")


@pytest.mark.slow
def test_it_is_detached_stopped_and_goes_on_to_the_end(checkout):
    code, said = reproduce(checkout, "--detach")
    assert code == 0, said
    assert "goes on without this terminal" in said, said
    log, episodes = checkout / "results/reproduce.log", ""
    for _ in range(240):
        time.sleep(0.5)
        episodes = "".join(path.read_text() for path in checkout.glob("results/libero/runs/*/episodes.jsonl"))
        if episodes:
            break
    assert episodes, log.read_text()
    code, said = reproduce(checkout)
    assert code == 1, said
    assert "another one is at it, process " in said, said
    code, said = reproduce(checkout, "--stop", MODE="split")  # it knows how it was started
    assert code == 0, said
    assert "stopped; the same command goes on" in said, said
    assert "INCOMPLETE" in log.read_text()
    assert "reproduce: report" not in log.read_text()
    code, said = reproduce(checkout)
    assert code == 0, said
    assert "are there already; going on with the rest" in said, said
    assert "libero_object: complete, " in said, said
    assert " of 8 episodes succeeded" in said, said
    assert said.index("average of four") > said.index("reproduce: report") > said.index(" of 8 episodes succeeded")
