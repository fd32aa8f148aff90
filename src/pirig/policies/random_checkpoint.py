"""Make checkpoints with random weights, to test the whole stack. No episode is expected to succeed with one."""

import math
import pathlib

from pirig.checkpoints import assets, write
from pirig.checkpoints.read import Layout
from pirig.models import random_weights, weight_table, weights
from pirig.policies.recipes import recipe as find_recipe


def make_random_checkpoint(
    recipe: str, directory: pathlib.Path, *, layout: Layout = "orbax", dtype: str = "bfloat16", seed: int = 0
) -> int:
    """Write a checkpoint of the recipe's model and return its number of parameters.

    The norm stats leave all values unchanged. `dtype` is the arrays' dtype, "bfloat16" or "float32"; `seed` determines
    the weights. Raises ConfigError if the recipe is unknown, or if `directory` exists or cannot be written.
    """
    row = find_recipe(recipe)
    parts = random_weights.parts(row.model, seed)
    shapes = weight_table.jax_shapes(row.model)
    if layout == "safetensors":
        parts = ((name, (), x) for path, i, whole in parts for name, x in weights.split(path, i, whole, row.model))
        shapes = weight_table.torch_shapes(row.model)
    documents = {f"assets/{row.asset_id}/norm_stats.json": assets.neutral_norm_stats({"state": 8, "actions": 7})}
    write.write(directory, layout, parts, shapes, dtype, documents)
    return sum(map(math.prod, shapes.values()))
