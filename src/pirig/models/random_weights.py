"""Generate seeded random weights for every model size, so that the stack can be tried without a real checkpoint.

Their scales keep activations at the magnitude of trained ones: matrices have 1 / sqrt(inputs), norms are near one,
biases are small.
"""

import math
from collections.abc import Iterator

import numpy as np

from pirig import seeding
from pirig.models.config import ModelConfig
from pirig.models.weight_table import jax_shapes

Part = tuple[str, tuple[int, ...], np.ndarray]


def parts(config: ModelConfig, seed: int) -> Iterator[Part]:
    """Yield path in the JAX tree, layer index (or () for all) and float32 values, layer by layer to save memory."""
    for path, shape in jax_shapes(config).items():
        for index in [(i,) for i in range(shape[0])] if _is_stacked(path) else [()]:
            own = shape[len(index) :]
            offset, deviation = _scale(path, own)
            values = seeding.noise(f"random weights/seed{seed}/{path}/{index}", own)
            values *= np.float32(deviation)
            values += np.float32(offset)
            yield path, index, values


def _is_stacked(path: str) -> bool:
    return "/layers/" in path or "/encoderblock/" in path


def _scale(path: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the mean and the standard deviation of an array's values."""
    if path.endswith("/bias"):
        return 0.0, 0.02
    if path.endswith("/scale"):
        return (1.0 if "/img/" in path else 0.0), 0.1
    return 0.0, _inputs(path, shape) ** -0.5


def _inputs(path: str, shape: tuple[int, ...]) -> int:
    """Return the number of products that each output sums."""
    if "attn_vec_einsum" in path or path.endswith("/out/kernel"):
        return shape[0] * shape[1]  # [N, H, D]
    if path.endswith(("query/kernel", "key/kernel", "value/kernel")):
        return shape[0]  # [D, N, H]
    if path.endswith(("embedding", "pos_embedding")):
        return shape[-1]
    if path.endswith("embedding/kernel"):
        return math.prod(shape[:3])  # [P, P, 3, D]
    return shape[-2]
