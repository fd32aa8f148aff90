"""compose.yml as it is written; scripts/ci/check_compose.py asks compose what it makes of it."""

import pathlib

import pytest
import yaml

from pirig.quantization import variables

FILE = yaml.safe_load((pathlib.Path(__file__).parents[2] / "compose.yml").read_text())
ELSEWHERE = {"PACKROOT"}  # names a folder of the machine, which is mounted


@pytest.mark.parametrize("service", ["server", "quantize", "runtime", "headless"])
def test_every_variable_of_quantization_reaches_every_container(service):
    passed = {name for name in FILE["services"][service]["environment"] if name.startswith(variables.PREFIX)}
    assert passed == {variables.PREFIX + name for name in variables.TABLE.keys() - ELSEWHERE}


def test_the_pack_is_made_from_the_words_that_the_server_is_started_with():
    services = FILE["services"]
    assert services["quantize"]["command"] == services["server"]["command"]
    assert services["server"]["depends_on"]["quantize"]["required"] is False
    assert any(
        volume.endswith(":/packs")
        for volume in set(services["quantize"]["volumes"]) & set(services["server"]["volumes"])
    )
