"""The weight table against the parameters of the reference's models, and its laws."""

import json

import numpy as np
import pytest

from pirig.errors import ConfigError
from pirig.models import random_weights, weight_table, weights
from pirig.models.config import PI0, PI05, ModelConfig
from support import golden, tiny

CONFIGS = {"pi05_libero": PI05, "pi0_libero": PI0, "pi05_tiny": PI05.tiny(), "pi0_tiny": PI0.tiny()}
PARAMS = golden.ROOT / "params"


@pytest.fixture(params=["pi05_tiny", "pi0_tiny"])
def config(request) -> ModelConfig:
    return CONFIGS[request.param]


@pytest.mark.parametrize("name", CONFIGS)
def test_names_and_shapes_are_the_reference_s(name):
    jax = json.loads((PARAMS / f"{name}_jax_params.json").read_text())["params"]
    torch = json.loads((PARAMS / f"{name}_torch_state_dict.json").read_text())["params"]
    assert weight_table.jax_shapes(CONFIGS[name]) == {path: tuple(one["shape"]) for path, one in jax.items()}
    words = {name for name, one in torch.items() if one["jax"] is None}
    assert all(name.endswith("lm_head.weight") for name in words)
    assert weight_table.torch_shapes(CONFIGS[name]) == {
        name: tuple(one["shape"]) for name, one in torch.items() if name not in words
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_each_tensor_is_taken_from_where_the_reference_takes_it(name):
    torch = json.loads((PARAMS / f"{name}_torch_state_dict.json").read_text())["params"]
    pieces = [piece for pieces in weight_table.pieces(CONFIGS[name]).values() for piece in pieces]
    for piece in pieces:
        expected = torch[piece.name]
        assert (piece.path, list(piece.index)) == (expected["jax"], expected["index"] or [])


def test_the_weights_of_the_tests_are_those_of_the_golden_values(config):
    name = next(name for name, one in CONFIGS.items() if one == config)
    expected = json.loads((PARAMS / f"{name}_jax_params.json").read_text())["params"]
    for path, array in tiny.tree(config).items():
        assert array.reshape(-1)[:4].tolist() == expected[path]["first4"], path


def test_there_and_back(config):
    tree = tiny.tree(config)
    state = dict(weights.as_torch(tree, config))
    assert {name: array.shape for name, array in state.items()} == weight_table.torch_shapes(config)
    back = weights.as_jax(state, config)
    assert back.keys() == tree.keys()
    assert all(np.array_equal(back[path], tree[path]) for path in tree)
    assert all(np.array_equal(a, state[name]) for name, a in weights.as_torch(state, config))


def test_the_tied_embedding_is_found_under_its_other_name(config):
    state = dict(weights.as_torch(tiny.tree(config), config))
    name = "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    embedding = state.pop(name)
    state["paligemma_with_expert.paligemma.lm_head.weight"] = embedding
    state["paligemma_with_expert.gemma_expert.lm_head.weight"] = np.zeros((3, 2), np.float32)
    assert dict(weights.as_torch(state, config))[name] is embedding
    assert np.array_equal(weights.as_jax(state, config)["PaliGemma/llm/embedder/input_embedding"], embedding)


def test_what_is_wrong_with_a_checkpoint_is_named(config):
    tree = dict(tiny.tree(config))
    del tree["PaliGemma/img/head/bias"]
    tree["action_in_proj/bias"] = np.zeros(3, np.float32)
    tree["surplus"] = np.zeros(1, np.float32)
    with pytest.raises(ConfigError) as error:
        weights.as_jax(tree, config)
    for part in ("missing: PaliGemma/img/head/bias", "not part of the model: surplus", "bias (3,) instead of (64,)"):
        assert part in str(error.value)


def test_a_checkpoint_of_the_other_model_is_recognized():
    with pytest.raises(ConfigError, match="it looks like a checkpoint of π0: choose another recipe"):
        weights.as_jax(tiny.tree(PI0.tiny()), PI05.tiny())
    with pytest.raises(ConfigError, match=r"looks like a checkpoint of π0\.5"):
        dict(weights.as_torch(dict(weights.as_torch(tiny.tree(PI05.tiny()), PI05.tiny())), PI0.tiny()))


def test_random_weights_are_the_whole_model_and_decided_by_the_seed(config):
    def made(seed):
        found = {}
        for path, index, values in random_weights.parts(config, seed):
            found.setdefault(path, np.empty(weight_table.jax_shapes(config)[path], np.float32))[index] = values
        return found

    first, again, other = made(0), made(0), made(1)
    assert {path: a.shape for path, a in first.items()} == weight_table.jax_shapes(config)
    assert all(np.array_equal(first[path], again[path]) for path in first)
    assert not any(np.array_equal(first[path], other[path]) for path in first)


@pytest.mark.parametrize("layout", ["DNH->(NH)D", "NHD->D(NH)", "PQCD->DCPQ", "IO->OI", "BTD->(BT)D"])
def test_a_layout_is_undone(layout):
    shape = tuple(range(2, 2 + layout.index("-")))
    x = np.random.default_rng(0).normal(size=shape)
    assert np.array_equal(weight_table.unmerge(weight_table.merge(x, layout), layout, shape), x)
    assert weight_table.merge(x, layout).shape == weight_table.merged(layout, shape)
