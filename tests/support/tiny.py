"""Tiny checkpoints whose weights are made from names and shapes alone, as those of the golden values were."""

import functools
import json
import pathlib
import re
import shutil
import zlib

import numpy as np

from pirig.checkpoints import write
from pirig.models import weight_table, weights
from pirig.models.config import PI0, PI05
from pirig.policies.recipes import RECIPES
from support import golden

TOKENIZER = golden.ROOT / "tokenizer/standin_sentencepiece.model"
NORM_STATS = golden.ROOT / "transforms/norm_stats_8_7/norm_stats.json"
CONFIGS = {"pi05": PI05.tiny(), "pi0": PI0.tiny()}
_RULES = (  # path -> mean, standard deviation; the first that matches (golden/deterministic_weights.py)
    (r".*llm/.*norm_1/Dense_0/bias", 0.0, lambda s: 0.5),
    (r".*llm/.*norm_1/Dense_0/kernel", 0.0, lambda s: s[-2] ** -0.5),
    (r".*llm/.*/scale", 0.0, lambda s: 0.1),
    (r".*input_embedding|.*pos_embedding", 0.0, lambda s: s[-1] ** -0.5),
    (r".*attn_vec_einsum(_1)?/w|.*img/.*/out/kernel", 0.0, lambda s: (s[-3] * s[-2]) ** -0.5),
    (r".*(q|kv)_einsum(_1)?/w|.*(gating_einsum|linear)", 0.0, lambda s: s[-2] ** -0.5),
    (r".*img/.*/scale", 1.0, lambda s: 0.1),
    (r".*img/embedding/kernel", 0.0, lambda s: (s[0] * s[1] * s[2]) ** -0.5),
    (r".*img/.*/(query|key|value)/kernel", 0.0, lambda s: s[-3] ** -0.5),
    (r".*/bias", 0.0, lambda s: 0.02),
    (r".*/kernel", 0.0, lambda s: s[-2] ** -0.5),
)


def array(path, shape):
    """float32 values of the array at `path` in the JAX tree."""
    mean, deviation = next((m, d(shape)) for rule, m, d in _RULES if re.fullmatch(rule, path))
    values = np.random.default_rng(zlib.crc32(path.encode())).standard_normal(shape, dtype=np.float32)
    values *= np.float32(deviation)
    return values + np.float32(mean) if mean else values


@functools.lru_cache(maxsize=1)  # of medium size it has 1.7 GB
def tree(config):
    """The whole JAX tree."""
    return {path: array(path, shape) for path, shape in weight_table.jax_shapes(config).items()}


def workspace(folder: pathlib.Path, recipe: str) -> pathlib.Path:
    """A working directory: `ckpt`, and `home` with the stand-in tokenizer, for OPENPI_DATA_HOME. Returns `folder`."""
    checkpoint(folder / "ckpt", recipe)
    (folder / "home/big_vision").mkdir(parents=True)
    shutil.copy(TOKENIZER, folder / "home/big_vision/paligemma_tokenizer.model")
    return folder


def checkpoint(folder: pathlib.Path, recipe: str, layout: str = "orbax", dtype: str = "float32") -> pathlib.Path:
    """Writes one with norm stats; returns `folder`."""
    config = RECIPES[recipe].model
    documents = {f"assets/{RECIPES[recipe].asset_id}/norm_stats.json": json.loads(NORM_STATS.read_text())}
    if layout == "orbax":
        parts = ((path, (), values) for path, values in tree(config).items())
        write.write(folder, "orbax", parts, weight_table.jax_shapes(config), dtype, documents)
    else:
        parts = ((name, (), values) for name, values in weights.as_torch(tree(config), config))
        write.write(folder, "safetensors", parts, weight_table.torch_shapes(config), dtype, documents)
    return folder
