"""What a manifest says of the command that worked on a run, and what it must not say."""

import json

import pytest

from pirig import envvars
from pirig.cli.eval import EvalArgs
from pirig.launch.sessions import Session
from pirig.launch.settings import recorded
from pirig.results.store import RunStore
from support.recorded_runs import CONFIGURATION

SECRETS = {"HF_TOKEN": "hf_verysecret", "PIRIG_API_KEY": "keyverysecret"}  # pragma: allowlist secret


def session(folder):
    configuration = {**CONFIGURATION, "resize_size": 224}
    with RunStore.open(folder, configuration) as store:
        Session(store, recorded(EvalArgs()), assets="0f", workers=1).end([])
    return RunStore.read(folder).manifest["sessions"][-1]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for row in envvars.TABLE:
        monkeypatch.delenv(row.name, raising=False)


def test_every_variable_that_is_set_is_recorded_and_secrets_only_as_set(tmp_path, monkeypatch):
    values = {row.name: f"value of {row.name}" for row in envvars.TABLE} | SECRETS
    values |= {"OPENPI_DUQUANT_WBITS_DEFAULT": "4", "OPENPI_DUQUANT_DEBUG": "1"}
    for name, value in {**values, "OPENPI_DUQUANT_EMPTY": ""}.items():
        monkeypatch.setenv(name, value)
    found = session(tmp_path / "run")["variables"]
    assert found == values | dict.fromkeys(SECRETS, "(set)")
    assert "verysecret" not in (tmp_path / "run/manifest.json").read_text()


def test_the_image_is_named_in_a_container_and_absent_elsewhere(tmp_path, monkeypatch):
    assert "image" not in session(tmp_path / "run")
    monkeypatch.setenv("PIRIG_IMAGE", "sha256:" + "ab" * 32)
    assert session(tmp_path / "run")["image"] == "sha256:" + "ab" * 32
    sessions = json.loads((tmp_path / "run/manifest.json").read_text())["sessions"]
    assert ["image" in one for one in sessions] == [False, True]
