"""Quantization that was asked for here is what the policy says it has had, wherever the policy is."""

import os

import pytest

from pirig.errors import ConfigError
from pirig.launch import packs
from pirig.policies.choice import ModelChoice
from support.recorded_runs import quantized

FLOAT = {"name": "pi05_libero", "backend": "jax"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OPENPI_DUQUANT_")]:
        monkeypatch.delenv(name)


def test_where_nothing_is_asked_for_any_policy_will_do():
    packs.check_done(ModelChoice(), FLOAT)
    packs.check_done(ModelChoice(), quantized())


def test_a_policy_that_is_quantized_as_asked_will_do(monkeypatch):
    packs.check_done(ModelChoice(quantize="w4a8"), quantized())
    packs.check_done(ModelChoice(quantize="./some.safetensors"), quantized())
    monkeypatch.setenv("OPENPI_DUQUANT_WBITS_DEFAULT", "4")
    packs.check_done(ModelChoice(), quantized())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (FLOAT, "the policy pi05_libero is not quantized; ask for it where the policy is loaded"),
        (quantized(), "the policy pi05_libero is quantized as w4a8; asked for was w8a8"),
        (FLOAT | {"quantization": "int8"}, "the policy pi05_libero is quantized as int8; asked for was w8a8"),
    ],
)
def test_another_policy_is_refused(metadata, message):
    with pytest.raises(ConfigError, match=message):
        packs.check_done(ModelChoice(quantize="w8a8"), metadata)


def test_variables_ask_as_flags_do(monkeypatch):
    monkeypatch.setenv("OPENPI_DUQUANT_WBITS_DEFAULT", "4")
    with pytest.raises(ConfigError, match="is not quantized"):
        packs.check_done(ModelChoice(), FLOAT)


def test_variables_that_only_say_how_count_where_a_flag_asks(monkeypatch):
    monkeypatch.setenv("OPENPI_DUQUANT_CALIB_STEPS", "4")
    monkeypatch.setenv("OPENPI_DUQUANT_LS", "0.15")
    assert not packs.wanted(ModelChoice())
    found = packs.wanted(ModelChoice(quantize="w8a8")).configuration
    assert found is not None
    assert (found.name, found.samples, found.smoothing) == ("w8a8", 4, 0.15)
