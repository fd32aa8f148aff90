"""OPENPI_DUQUANT_*: each variable is used or refused, and nothing that was asked for is left out in silence."""

import pathlib

import pytest

from pirig.errors import ConfigError
from pirig.models.config import PI05
from pirig.policies.layer_groups import groups
from pirig.quantization.configuration import FLOAT, QuantConfig, pack_name, parse
from pirig.quantization.select import folds, select
from pirig.quantization.variables import PREFIX, TABLE, read

FULL, TINY = groups(PI05), groups(PI05.tiny())
EXPERT = "paligemma_with_expert.gemma_expert.model."
LANGUAGE = "paligemma_with_expert.paligemma.model.language_model."
DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/quantization.md"


def asked(**variables):
    return read({PREFIX + name: value for name, value in variables.items()})


def selected(model=FULL, **variables):
    return select(model, asked(**variables).configuration)


def test_the_documented_command_line():
    request = asked(DEBUG="1", SCOPE=EXPERT, WBITS_DEFAULT="4", ABITS="8")
    assert request.verbose
    assert request.configuration == QuantConfig(scope=EXPERT)
    assert len(select(FULL, request.configuration)) == 126


@pytest.mark.parametrize(("model", "count"), [(FULL, 252), (TINY, 56)])
def test_all_layers_of_both_decoders_are_selected_where_nothing_else_is_said(model, count):
    found = selected(model, WBITS_DEFAULT="4")
    assert len(found) == count
    assert set(found.values()) == {4}


@pytest.mark.parametrize("name", ["DEBUG", "DRYRUN"])
def test_what_only_watches_starts_nothing(name):
    assert asked(**{name: "1"}).configuration is None
    assert asked(PACKDIR="packs", CALIB_STEPS="8", BLOCK="64").configuration is None


@pytest.mark.parametrize("name", ["PROFILE", "PROFILE_SYNC"])
def test_profiling_is_refused_with_its_replacement_and_its_zero_accepted(name):
    assert asked(**{name: "0"}).configuration is None
    with pytest.raises(ConfigError, match=f"{PREFIX}{name}=1 .*benchmarks/quantization.py"):
        asked(**{name: "1"})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"INCLUDE": "q_prj"}, "no layer matches INCLUDE='q_prj', of 252 .* did you mean 'q_proj'"),
        ({"SCOPE": "model.layers."}, "no layer matches SCOPE='model.layers.'.*down_proj, gate_proj, .* below"),
        ({"EXCLUDE": "visoin"}, "no layer matches EXCLUDE='visoin'"),
        ({"LAYERS": f"{EXPERT}layers.0.self_attn.q_prj"}, "no layer matches LAYERS=.*mean .*0.self_attn.q_proj"),
        ({"WBITS": "qproj:8"}, "no layer matches WBITS='qproj'.* did you mean 'q_proj'"),
        ({"INCLUDE": "q_proj", "EXCLUDE": "proj"}, "every layer is excluded"),
        ({"WBITS_DEFAULT": "16"}, "every layer is excluded or has 16 bits"),
    ],
)  # fmt: skip
def test_a_selection_that_matches_nothing_is_an_error(variables, message):
    with pytest.raises(ConfigError, match=message):
        selected(**variables)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WBIT_DEFAULT": "4"}, "_WBIT_DEFAULT is not a variable.*did you mean OPENPI_DUQUANT_WBITS_DEFAULT"),
        ({"WBITS_DEFAULT": "four"}, "WBITS_DEFAULT='four' cannot be read"),
        ({"WBITS_DEFAULT": "9"}, "weight bits: 9; expected one of 2, 3, 4, 5, 6, 7, 8, 16"),
        ({"ABITS": "6"}, "activation bits: 6; expected one of 4, 8, 16"),
        ({"WBITS": "q_proj"}, "expected name:bits"),
        ({"INCLUDE": "("}, "is no regular expression"),
        ({"BLOCK": "96", "ABITS": "8"}, "96 channels; expected a power of two"),
        ({"LS": "2", "ABITS": "8"}, "smoothing is 2; expected 0 to 1"),
        ({"PERMUTE": "maybe", "ABITS": "8"}, "PERMUTE='maybe' cannot be read.*expected 0 or 1"),
        ({"ROW_ROT": "propagate"}, "ROW_ROT=propagate .*set it to 0"),
        ({"BLOCK_OUT": "64"}, "BLOCK_OUT=64 .*unset it"),
        ({"INCLUDE_ACTION_HEAD": "1"}, "INCLUDE_ACTION_HEAD=1 .*set it to 0"),
        ({"PRECACHE_WEIGHTS": "0"}, "PRECACHE_WEIGHTS=0 .*set it to 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_the_remedy(variables, message):
    with pytest.raises(ConfigError, match=message):
        asked(**variables)


def test_every_variable_of_the_forks_is_known():
    """The list of quantization.md."""
    forks = """WBITS_DEFAULT WBITS ABITS BLOCK BLOCK_OUT LS PERMUTE ROW_ROT ACT_PCT CALIB_STEPS PACKDIR PACKROOT SCOPE
    INCLUDE EXCLUDE LAYERS INCLUDE_ACTION_HEAD PRECACHE_WEIGHTS DRYRUN DEBUG PROFILE PROFILE_SYNC"""
    assert set(forks.split()) == TABLE.keys()


def test_values_reach_the_configuration():
    found = asked(
        WBITS_DEFAULT="3", WBITS="o_proj:8,layers.0.mlp.up_proj:16", ABITS="0", BLOCK="64", PERMUTE="0", LS="0.15",
        ACT_PCT="99.9", CALIB_STEPS="7", PACKROOT="root", PACKDIR="packs", EXCLUDE="k_proj",
        ROW_ROT="0", PRECACHE_WEIGHTS="1", INCLUDE_ACTION_HEAD="0",
    )  # fmt: skip
    assert found.folder == "packs"
    assert asked(PACKROOT="root").folder == "root"
    assert found.configuration == QuantConfig(
        weight_bits=3, bits_of=(("o_proj", 8), ("layers.0.mlp.up_proj", 16)), activation_bits=FLOAT, block=64,
        permute=False, smoothing=0.15, percentile=99.9, samples=7, exclude="k_proj",
    )  # fmt: skip
    bits = select(FULL, found.configuration)
    assert len(bits) == 252 - 36 - 2  # no k_proj, and two layers that stay as they are
    assert bits[f"{EXPERT}layers.5.self_attn.o_proj"] == 8
    assert bits[f"{EXPERT}layers.5.self_attn.q_proj"] == 3


def test_folds_are_made_only_where_all_that_they_touch_is_quantized():
    everything = select(FULL, QuantConfig())
    expert = select(FULL, QuantConfig(scope=EXPERT))
    mixers, products = ([g for g in FULL if g.fold and g.apart is apart] for apart in (True, False))
    assert len(mixers) == 18
    assert len(products) == 36
    assert all(folds(group, everything, QuantConfig()) for group in mixers + products)
    assert not any(folds(group, expert, QuantConfig()) for group in mixers)  # the other decoder reads these values too
    assert sum(folds(group, expert, QuantConfig()) is not None for group in products) == 18
    assert not any(folds(group, everything, QuantConfig(method="rtn")) for group in mixers + products)


def test_names_of_bits():
    assert parse("w4a8") == (4, 8)
    assert parse("W4A0") == parse("w4a16") == (4, FLOAT)
    for wrong in ("int4", "w1a8", "w4a5", "w16a8"):
        with pytest.raises(ConfigError, match="expected"):
            parse(wrong)


def test_a_packs_name_follows_from_what_decides_its_content():
    one = ("pi05_libero", "abc", "bfloat16", QuantConfig(), "seed 0")
    others = [
        ("pi0_libero", *one[1:]), (one[0], "abd", *one[2:]), (*one[:2], "float32", *one[3:]),
        (*one[:3], QuantConfig(seed=1), one[4]), (*one[:4], "seed 1"),
    ]  # fmt: skip
    names = {pack_name(*values) for values in (one, *others)}
    assert len(names) == 6
    assert pack_name(*one) == pack_name(*one)
    rtn = QuantConfig(method="rtn")
    assert pack_name(*one[:3], rtn, "seed 0") == pack_name(*one[:3], rtn, "seed 1")  # looks at no observation


def test_the_document_has_every_variable_as_the_table_has_it():
    rows = []
    for name, row in TABLE.items():
        here = "starts quantization" if row.starts else f"refused: {row.refused}" if row.refused else "used"
        rows.append(f"| `{name}` | {row.meaning} | {here} |")
    assert [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")] == rows
