"""Quantized π0 and π0.5 on tiny checkpoints: all layers, the folds between them, and what may not be loaded."""

import dataclasses
import math
import re
import shutil
import zlib

import numpy as np
import pytest

from pirig.errors import ConfigError
from pirig.models.config import PI0, PI05
from pirig.models.weight_table import torch_shapes
from pirig.policies import ModelChoice, PackChoice, create_policy
from pirig.policies.layer_groups import groups
from pirig.policies.make_pack import make_pack
from pirig.policies.opened import open_checkpoint
from pirig.quantization import packs
from pirig.quantization.configuration import QuantConfig
from support import tiny

NAME = "pi05_libero_tiny"
SAMPLES = 4
FLOAT32 = ModelChoice(dtype="float32")
LOCAL = {"tokenizer": tiny.TOKENIZER}
"""Where the files beside a checkpoint are; `places` adds the cache of its folder."""


def observation(i):
    draw = np.random.default_rng(i)
    pictures = {
        f"observation/{name}": draw.integers(0, 255, (224, 224, 3), np.uint8) for name in ("image", "wrist_image")
    }
    return pictures | {"observation/state": draw.standard_normal(8), "prompt": "pick up the milk", "noise_key": f"n{i}"}


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory):
    """Two checkpoints and a tokenizer."""
    folder = tiny.workspace(tmp_path_factory.mktemp("quantized"), NAME)
    tiny.checkpoint(folder / "pi0", "pi0_libero_tiny")
    LOCAL["cache"] = folder / "cache"
    return folder


def make(places, name="pack", recipe=NAME, samples=range(SAMPLES), dtype="float32", **settings):
    """A pack that is only read: the same arguments give the same file, made once."""
    key = repr((name, recipe, tuple(samples), dtype, sorted(settings.items())))
    file = places / f"{zlib.crc32(key.encode()):08x}.safetensors"
    if not file.exists():
        configuration = QuantConfig(samples=len(samples), **settings)
        directory = places / ("pi0" if recipe.startswith("pi0_") else "ckpt")
        make_pack(file, recipe, directory, configuration, [observation(i) for i in samples], {}, dtype=dtype, **LOCAL)
    return file


def actions(places, pack=None, recipe=NAME, configuration=None, **settings):
    directory = places / ("pi0" if recipe.startswith("pi0_") else "ckpt")
    choice = ModelChoice(**{"backend": "torch", "dtype": "float32", **settings})
    policy = create_policy(recipe, directory, choice, pack=pack and PackChoice(pack, configuration), **LOCAL)
    return np.concatenate([policy.infer(observation(100 + i))["actions"].ravel() for i in range(2)]), policy.metadata


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("recipe", [NAME, "pi0_libero_tiny"])
def test_all_layers_are_quantized_and_say_so(places, recipe):
    exact, before = actions(places, recipe=recipe)
    found, after = actions(places, make(places, recipe=recipe), recipe=recipe)
    said = after["quantization"]
    assert "quantization" not in before
    assert said["layers"] == {"expected": 56, "matched": 56, "replaced": 56}
    assert (said["name"], said["method"], said["weight_bits"], said["activation_bits"]) == (
        "w4a8",
        "duquant",
        {"4": 56},
        8,
    )
    assert len(said["error"]["by_layer"]) == 56
    assert 0 < said["error"]["mean"] < 0.02
    assert said["bytes"]["after"] < said["bytes"]["before"] / 5
    assert 0.99 < cosine(found, exact) < 1.0


@pytest.mark.parametrize("recipe", [NAME, "pi0_libero_tiny"])
def test_with_eight_bits_nothing_but_rounding_is_left(places, recipe):
    """So every fold is undone where it must be, in both decoders."""
    exact, _ = actions(places, recipe=recipe)
    found, _ = actions(places, make(places, recipe=recipe, weight_bits=8, activation_bits=16), recipe=recipe)
    assert cosine(found, exact) > 0.9999
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize(
    "settings",
    [
        {"scope": "paligemma_with_expert.gemma_expert.model."},
        {"include": r"o_proj|v_proj"},
        {"include": "q_proj|down_proj"},
        {"exclude": r"layers\.1\."},
    ],
    ids=str,
)
def test_parts_of_the_model_can_be_quantized(places, settings):
    exact, _ = actions(places)
    found, said = actions(places, make(places, weight_bits=8, **settings))
    assert cosine(found, exact) > 0.999
    assert 0 < said["quantization"]["layers"]["replaced"] < 56


def test_the_last_layers_are_calibrated_too(places):
    """Actions need only the keys and values of the language model's last layer; its pack is complete all the same."""
    header = packs.read_header(make(places))
    assert len(header.layers) == 56
    assert all(0 < layer.error < 0.1 for layer in header.layers.values())


def test_the_same_observations_give_the_same_bytes(places):
    one, two = (make(places, f"pack {i}").read_bytes() for i in range(2))
    assert one == two


def test_every_observation_counts(places):
    """All of them are looked at, whatever comes first: no pack is that of fewer."""
    choices = (range(4), range(3), range(1, 4))
    digests = {packs.read_header(make(places, samples=samples)).digest for samples in choices}
    assert len(digests) == 3


def test_evaluating_changes_no_pack_and_no_model(places):
    """What comes first in an evaluation does not matter, because nothing is calibrated in it."""
    pack = make(places)
    content = pack.read_bytes()
    policy = create_policy(NAME, places / "ckpt", FLOAT32, pack=PackChoice(pack), **LOCAL)
    one, two = observation(200), observation(201)
    first = policy.infer(one)["actions"]
    policy.infer(two)
    assert np.array_equal(policy.infer(one)["actions"], first)
    assert pack.read_bytes() == content


def test_a_batch_gives_the_rows_of_each_alone(places):
    choice = dataclasses.replace(FLOAT32, strict=True)
    policy = create_policy(NAME, places / "ckpt", choice, pack=PackChoice(make(places)), max_batch=4, **LOCAL)
    seen = [observation(i) for i in range(4)]
    together = [answer["actions"] for answer in policy.infer_batch(seen)]
    assert np.array_equal([policy.infer(obs)["actions"] for obs in seen], together)


@pytest.mark.parametrize("kernel", ["exact", "int_mm"])
def test_every_kernel_gives_the_same_bits(places, kernel):
    pack = make(places, dtype="bfloat16")
    found, said = actions(places, pack, dtype="bfloat16", kernel=kernel)
    assert said["quantization"]["kernel"] == kernel
    assert np.array_equal(found, actions(places, pack, dtype="bfloat16")[0])


def test_a_kernel_that_cannot_run_is_an_error(places):
    with pytest.raises(ConfigError, match="triton"):
        actions(places, make(places), kernel="triton")


def test_no_float_model_stands_for_a_quantized_one(places):
    with pytest.raises(ConfigError, match="no pack was given for quantize='w4a8'; make one with: pirig quantize"):
        actions(places, quantize="w4a8")


def test_packs_of_something_else_are_refused(places):
    pack = make(places)
    with pytest.raises(ConfigError, match="made for dtype float32; this is bfloat16"):
        actions(places, pack, dtype="bfloat16")
    with pytest.raises(ConfigError, match="made for recipe pi05_libero_tiny; this is pi0_libero_tiny"):
        actions(places, pack, recipe="pi0_libero_tiny")
    with pytest.raises(ConfigError, match=r"was made with {'weight_bits': 4}; asked for was {'weight_bits': 8}"):
        actions(places, pack, configuration=QuantConfig(samples=SAMPLES, weight_bits=8))
    with pytest.raises(ConfigError, match="quantized models run in PyTorch only"):
        actions(places, pack, backend="jax")


def test_a_checkpoint_has_one_fingerprint_in_every_dtype(places):
    opened = {dtype: open_checkpoint(NAME, places / "ckpt", dtype, **LOCAL) for dtype in ("float32", "bfloat16")}
    assert len({checkpoint.fingerprint for checkpoint in opened.values()}) == 1
    for dtype, checkpoint in opened.items():
        assert {str(array.dtype) for array in checkpoint.checkpoint.arrays.values()} == {dtype}


def test_a_pack_is_refused_once_the_checkpoint_is_another(places, tmp_path):
    pack = make(places)
    folder = tiny.workspace(tmp_path, NAME) / "ckpt"
    stats = next(folder.glob("assets/**/norm_stats.json"))
    stats.write_text(stats.read_text().replace("0.", "0.1", 1))
    with pytest.raises(ConfigError, match="made for checkpoint .*make it again with: pirig quantize"):
        create_policy(NAME, folder, FLOAT32, pack=PackChoice(pack), **LOCAL)


def test_both_layouts_give_the_same_model(places, tmp_path):
    """The weights that the pack stands for are not even read."""
    pack = shutil.copy(make(places), tmp_path / "pack.safetensors")
    tiny.checkpoint(tmp_path / "torch", NAME, "safetensors")
    read = packs.read(pack)
    found = {}
    for directory in (places / "ckpt", tmp_path / "torch"):
        fingerprint = open_checkpoint(NAME, directory, "float32", **LOCAL).fingerprint
        packs.write(pack, dataclasses.replace(read.header, checkpoint=fingerprint), read.tensors)
        policy = create_policy(NAME, directory, FLOAT32, pack=PackChoice(pack), **LOCAL)
        found[directory] = policy.infer(observation(7))["actions"]
    one, two = found.values()
    assert np.array_equal(one, two)


@pytest.mark.parametrize(("config", "count"), [(PI05, 252), (PI0, 252), (PI05.tiny(), 56)])
def test_the_groups_are_the_linear_layers_of_both_decoders(config, count):
    names = [name for group in groups(config) for name in group.layers]
    shapes = {name.removesuffix(".weight"): shape for name, shape in torch_shapes(config).items()}
    linear = {name for name, shape in shapes.items() if re.search(r"\.layers\.\d.*_proj$", name) and len(shape) == 2}
    assert len(names) == len(set(names)) == count
    assert set(names) == {name for name in linear if "vision_tower" not in name}
    if count == 252:
        packed = sum(math.prod(shapes[name]) for name in names) / 2
        assert packed / 2**30 == pytest.approx(1.07, abs=0.01)


def test_a_pack_needs_no_weights_of_its_layers(places):
    """A float model in memory beside the quantized one would be what nobody sees."""
    pack = make(places)
    policy = create_policy(NAME, places / "ckpt", FLOAT32, pack=PackChoice(pack), **LOCAL)
    model = policy._backend._model
    names = {name for name, _ in model.named_parameters()}
    assert not any(f"{name}.weight" in names for name in packs.read_header(pack).layers)
    assert all(x.device.type == "cpu" for x in (*model.parameters(), *model.buffers()))
    assert len(names) > 20
