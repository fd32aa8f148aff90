"""Reading and writing both layouts; the reference's own files where they lie beside the repository."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from pirig.checkpoints import assets, read, write
from pirig.errors import ConfigError
from pirig.models import weights
from pirig.policies.recipes import RECIPES
from support import golden, tiny

WRITTEN = golden.ROOT / "checkpoints"
LAYOUTS = ["orbax", "safetensors"]
NAME = "pi05_libero_tiny"
CONFIG = RECIPES[NAME].model


@pytest.fixture(params=LAYOUTS)
def checkpoint(request, tmp_path):
    return tiny.checkpoint(tmp_path / "checkpoint", NAME, request.param)


def expected(layout):
    tree = tiny.tree(CONFIG)
    return tree if layout == "orbax" else dict(weights.as_torch(tree, CONFIG))


def test_what_is_written_is_read(checkpoint):
    found = read.open_checkpoint(checkpoint)
    arrays = expected(found.layout)
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found.arrays.shapes[name] == array.shape
        assert found.arrays.dtypes[name] == "float32"
        assert np.array_equal(found.arrays[name], array), name


def test_arrays_come_in_the_dtype_that_is_asked_for(checkpoint):
    """Rounded to nearest, ties to even, by whoever reads."""
    stored, asked = read.open_checkpoint(checkpoint), read.open_checkpoint(checkpoint).as_dtype("bfloat16")
    for name in stored.arrays:
        assert asked.arrays[name].dtype == read.DTYPES["bfloat16"]
        assert np.array_equal(asked.arrays[name], stored.arrays[name].astype(read.DTYPES["bfloat16"])), name


@pytest.mark.skipif(not (WRITTEN / "pi05_tiny_released").is_dir(), reason="lies beside the repository only")
@pytest.mark.parametrize(
    ("name", "layout", "config"),
    [
        ("pi05_tiny_released", "orbax", "pi05_libero_tiny"),
        ("pi0_tiny_trained_step7", "orbax", "pi0_libero_tiny"),
        ("pi05_tiny_pytorch", "safetensors", "pi05_libero_tiny"),
    ],
)
def test_files_that_the_reference_wrote(name, layout, config):
    found = read.open_checkpoint(WRITTEN / name)
    assert found.layout == layout
    tree = weights.as_jax(found.arrays, RECIPES[config].model)
    for path, array in tiny.tree(RECIPES[config].model).items():
        own = tree[path]
        assert np.array_equal(own, array if own.dtype == np.float32 else array.astype(own.dtype)), path


def test_a_file_of_pytorch_s_own_writer(tmp_path):
    """Tied names and another dtype for each tensor, as the reference's converter leaves them."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    state = {n: torch.from_numpy(a.copy()) for n, a in weights.as_torch(tiny.tree(CONFIG), CONFIG)}
    embedding = state.pop("paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight")
    state["paligemma_with_expert.paligemma.lm_head.weight"] = embedding.bfloat16()
    (tmp_path / "one").mkdir()
    save_file(state, tmp_path / "one/model.safetensors", {"format": "pt"})
    found = weights.as_jax(read.open_checkpoint(tmp_path / "one").arrays, CONFIG)
    tree = tiny.tree(CONFIG)
    words = "PaliGemma/llm/embedder/input_embedding"
    assert np.array_equal(found[words], tree[words].astype(read.DTYPES["bfloat16"]))
    assert all(np.array_equal(found[path], tree[path]) for path in tree if path != words)


def test_the_file_we_write_is_one_for_the_library(tmp_path):
    from safetensors.numpy import load_file

    folder = tiny.checkpoint(tmp_path / "one", NAME, "safetensors")
    assert all(
        np.array_equal(a, expected("safetensors")[n]) for n, a in load_file(folder / "model.safetensors").items()
    )


def test_the_fingerprint_names_the_content(tmp_path):
    def fingerprint(folder):
        return assets.fingerprint(read.open_checkpoint(folder), tmp_path / "cache")

    one = tiny.checkpoint(tmp_path / "one", NAME, "safetensors")
    first = fingerprint(one)
    shutil.copytree(one, tmp_path / "two", copy_function=shutil.copyfile)
    assert fingerprint(tmp_path / "two") == first == fingerprint(one)
    stats = assets.norm_stats_file(tmp_path / "two", RECIPES[NAME].asset_id)
    stats.write_text(stats.read_text().replace("0", "1", 1))
    assert fingerprint(tmp_path / "two") != first
    with open(one / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x5a")
    assert fingerprint(one) != first


def test_a_fingerprint_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    folder = tiny.checkpoint(tmp_path / "one", NAME, "orbax")
    opened = read.open_checkpoint(folder)
    first = assets.fingerprint(opened, tmp_path / "cache")
    monkeypatch.setattr(hashlib, "blake2b", None)  # no content is read again
    assert assets.fingerprint(opened, tmp_path / "cache") == first
    assert assets.fingerprint(opened, tmp_path / "cache") == first
    (folder / "more").write_text("")
    with pytest.raises(TypeError):
        assets.fingerprint(opened, tmp_path / "cache")


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        read.open_checkpoint(tmp_path / "nothing")
    (tmp_path / "run/3000").mkdir(parents=True)
    (tmp_path / "run/29999").mkdir()
    with pytest.raises(ConfigError, match=r"training steps \(3000, 29999\); name one of them, as .*run/29999"):
        read.open_checkpoint(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/weights.bin").write_text("")
    with pytest.raises(
        ConfigError, match=r"found weights\.bin; expected a folder params/ or a file model\.safetensors"
    ):
        read.open_checkpoint(tmp_path / "other")


def test_a_damaged_file_is_named(checkpoint):
    layout = read.open_checkpoint(checkpoint).layout
    if layout == "safetensors":
        damaged = checkpoint / "model.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-100])
    else:
        damaged = checkpoint / "params/manifest.ocdbt"
        damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(ConfigError, match="cannot be read: .*; fetch or copy it again"):
        read.open_checkpoint(checkpoint)


def test_damage_inside_an_array_is_found_when_it_is_read(tmp_path):
    folder = tiny.checkpoint(tmp_path / "one", NAME, "orbax")
    arrays = read.open_checkpoint(folder).arrays
    for file in (folder / "params/d").iterdir():
        file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(ConfigError, match="cannot be read"):
        [arrays[name] for name in arrays]


def test_norm_stats_that_are_missing_are_named(checkpoint):
    with pytest.raises(ConfigError, match="has norm stats for physical-intelligence/libero; expected somebody/else"):
        assets.norm_stats_file(checkpoint, "somebody/else")
    file = assets.norm_stats_file(checkpoint, "physical-intelligence/libero")
    file.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        assets.norm_stats(checkpoint, "physical-intelligence/libero")


def test_nothing_is_written_over(checkpoint):
    with pytest.raises(ConfigError, match="exists; name another folder"):
        tiny.checkpoint(checkpoint, NAME)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path):
    shapes = {"a": (1 << 50,)}
    for layout in ("orbax", "safetensors"):
        with pytest.raises(ConfigError, match=r"needs 4194304\.00 GiB; its disk has"):
            write.write(tmp_path / "one", layout, iter(()), shapes, "float32", {})
        assert not list(tmp_path.iterdir())


def test_what_stopped_in_the_middle_is_no_checkpoint(tmp_path):
    def parts():
        yield "a", (), np.zeros(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write.write(tmp_path / "one", "orbax", parts(), {"a": (3,), "b": (3,)}, "float32", {})
    assert not (tmp_path / "one").exists()


def test_the_tree_s_metadata_is_what_orbax_writes(tmp_path):
    """Up to what it says of the writer."""
    written = WRITTEN / "pi05_tiny_released/params/_METADATA"
    if not written.exists():
        pytest.skip("lies beside the repository only")
    mine = json.loads((tiny.checkpoint(tmp_path / "one", NAME) / "params/_METADATA").read_text())
    theirs = json.loads(written.read_text())
    assert mine["tree_metadata"] == theirs["tree_metadata"]
    assert mine["use_zarr3"] == theirs["use_zarr3"]
