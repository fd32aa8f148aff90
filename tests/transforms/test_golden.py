"""Each transform and both whole pipelines against the reference's outputs (openpi, commit 15a9616)."""

import json

import numpy as np
import pytest

from pirig.errors import ConfigError
from pirig.transforms import libero
from pirig.transforms.actions import absolute_actions, pad
from pirig.transforms.normalize import normalize, parse_norm_stats, unnormalize
from pirig.transforms.pipeline import chain
from pirig.transforms.prompt import PromptTokenizer, discretize, tokenize
from support import golden

FOLDER = golden.ROOT / "transforms"
TOKENIZER = golden.ROOT / "tokenizer/standin_sentencepiece.model"
SIX = (True,) * 6 + (False,)


def case(name):
    found = np.load(FOLDER / f"{name}.npz")
    sides = {"in/": {}, "out/": {}}
    for key in found.files:
        side = key[: key.index("/") + 1]
        value = found[key]
        sides[side][key.removeprefix(side)] = str(value) if value.dtype.kind == "U" and not value.ndim else value
    return sides["in/"], sides["out/"]


def check(name, transform):
    """Bit for bit, and of the same types and shapes."""
    given, expected = case(name)
    found = transform(given)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        value, mine = np.asarray(value), np.asarray(found[key])
        assert (mine.dtype, mine.shape) == (value.dtype, value.shape), key
        assert np.array_equal(mine, value), key


def stats(name="8_7"):
    return parse_norm_stats(json.loads((FOLDER / f"norm_stats_{name}/norm_stats.json").read_text()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["zscore", "quantile"])
@pytest.mark.parametrize("size", ["8_7", "padded32"])
def test_normalization(size, method, dtype):
    for way in (normalize, unnormalize):
        check(f"{way.__name__}_{size}_{method}_{dtype}", way(stats(size), quantile=method == "quantile"))


@pytest.mark.parametrize("quantile", [False, True])
def test_unnormalize_undoes_normalize(quantile):
    actions = np.random.default_rng(0).normal(size=(10, 7))
    there = normalize({"actions": stats()["actions"]}, quantile=quantile)({"actions": actions})
    back = unnormalize({"actions": stats()["actions"]}, quantile=quantile)(there)
    assert np.allclose(back["actions"], actions, atol=1e-12)


def test_quantile_normalization_needs_quantiles():
    without = parse_norm_stats({"norm_stats": {"state": {"mean": [0.0], "std": [1.0]}}})
    with pytest.raises(ConfigError, match="norm stats of state have no q01 and q99"):
        normalize(without, quantile=True)
    with pytest.raises(ConfigError, match="norm stats must be"):
        parse_norm_stats({"state": {}})


@pytest.mark.parametrize("name", ["libero_inputs_pi05", "libero_inputs_pi05_lerobot_float_chw"])
def test_libero_inputs(name):
    check(name, libero.inputs)


def test_libero_outputs():
    check("libero_outputs", libero.outputs)


def test_images_are_resized():
    check("resize_images_transform", libero.resize_images(224, 224))


@pytest.mark.parametrize("name", ["pad_states_and_actions_32", "pad_states_and_actions_32_longer_is_kept"])
def test_padding(name):
    check(name, pad(32))


def test_relative_actions():
    check("absolute_actions_6_-1", absolute_actions(SIX))
    absolute, relative = case("delta_actions_6_-1")
    back = absolute_actions(SIX)(relative)
    assert np.allclose(back["actions"], absolute["actions"], atol=1e-12)


@pytest.mark.parametrize("length", [48, 200])
def test_tokens(length):
    cases, tokenizer = np.load(FOLDER / "tokenize.npz"), PromptTokenizer(TOKENIZER, length)
    for i, (prompt, state) in enumerate(zip(cases["prompts"], cases["states"], strict=True)):
        for form, given in (("pi0", None), ("pi05", state)):
            tokens, mask = tokenizer.encode(str(prompt), given)
            assert np.array_equal(tokens, cases[f"tokens_{form}_len{length}"][i])
            assert np.array_equal(mask, cases[f"mask_{form}_len{length}"][i])
        assert np.array_equal(discretize(state), cases["discretized_states"][i])


def test_states_are_discretized_at_the_references_edges():
    edges = np.load(FOLDER / "digitize_edges.npz")
    assert np.array_equal(discretize(edges["in"]), edges["out"])
    assert np.array_equal(discretize(edges["in_f32"]), edges["out_f32"])


@pytest.mark.parametrize("discrete_state", [False, True])
def test_the_prompt_transform(discrete_state):
    tokenizer = PromptTokenizer(TOKENIZER, 200)
    check(f"tokenize_prompt_transform_discrete_{discrete_state}", tokenize(tokenizer, discrete_state=discrete_state))


def test_a_long_prompt_is_cut_with_a_warning(caplog):
    tokens, mask = PromptTokenizer(TOKENIZER, 8).encode("put the bowl " * 20)
    assert len(tokens) == 8
    assert mask.all()
    assert "is cut to 8" in caplog.text


@pytest.mark.parametrize(("recipe", "length", "quantile"), [("pi05_libero", 200, True), ("pi0_libero", 48, False)])
def test_whole_pipelines(recipe, length, quantile):
    way_in = chain(
        libero.inputs,
        normalize(stats(), quantile=quantile),
        libero.resize_images(224, 224),
        tokenize(PromptTokenizer(TOKENIZER, length), discrete_state=False),
        pad(32),
    )
    relative = () if quantile else (absolute_actions(SIX),)
    check(f"pipeline_in_{recipe}", way_in)
    check(f"pipeline_out_{recipe}", chain(unnormalize(stats(), quantile=quantile), *relative, libero.outputs))


def test_no_transform_changes_what_it_is_given():
    given, _ = case("pipeline_out_pi0_libero")
    kept = {key: value.copy() for key, value in given.items()}
    chain(unnormalize(stats(), quantile=False), absolute_actions(SIX), libero.outputs)(given)
    np.testing.assert_equal(given, kept)
