"""Transform a layer's input, and its weights by the inverse, so that both can be rounded: y = T(x) · T⁻ᵀ(W)ᵀ.

    duquant        T(x) = (x / Λ)[order] · H                    H: one signed Hadamard matrix for all blocks
    duquant-paper  T(x) = ((x / Λ) · R₁)[order] · R₂            R₁, R₂: a rotation for each block, found greedily

Smoothing Λ (Xiao et al., arXiv 2211.10438) moves outliers from activations into weights. The zigzag permutation
distributes channels, sorted by their maximum, over the blocks in alternating directions. The rotation spreads the
remaining outliers within a block (Lin et al., arXiv 2406.01721, section 3).

Axes: M rows, K channels, B channels in a block.

Law: Transforming both inputs and weights leaves every product unchanged, up to rounding.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from pirig import seeding
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.kernels.rows import rotate

_TINY = 1e-5  # lower bound, because the maximum of an unused channel is 0
_GREEDY_STEPS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Transform:
    """A transform of a layer's input. A part that is None is not applied."""

    smoothing: Tensor | None = None  # Λ, float32[K]
    first: Tensor | None = None  # R₁, float32[K/B, B, B]
    order: Tensor | None = None  # int64[K]: channel i comes from order[i]
    signs: Tensor | None = None  # of the Hadamard matrix, float32[B]
    second: Tensor | None = None  # R₂, float32[K/B, B, B]

    def inputs(self, x: Tensor) -> Tensor:
        """Return T(x) of x: [M, K], in its dtype."""
        return self._turn(x if self.smoothing is None else x / self.smoothing.to(x))

    def weights(self, w: Tensor) -> Tensor:
        """Return T⁻ᵀ(w) of w: [N, K], in its dtype. Rotations are orthogonal, so only Λ is inverted."""
        return self._turn(w if self.smoothing is None else w * self.smoothing.to(w))

    def _turn(self, x: Tensor) -> Tensor:
        x = x if self.first is None else blockwise(x, self.first)
        x = x if self.order is None else x[:, self.order]
        if self.signs is not None:
            return rotate(x * self.signs.to(x).repeat(x.shape[1] // len(self.signs)), len(self.signs))
        return x if self.second is None else blockwise(x, self.second)

    def tensors(self) -> dict[str, Tensor]:
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def without(self, *, scales: bool, order: bool, rotation: bool) -> "Transform":
        """Return the transform without the parts that are True here, because other layers apply them."""
        return dataclasses.replace(
            self,
            smoothing=None if scales else self.smoothing,
            order=None if order else self.order,
            signs=None if rotation else self.signs,
        )

    def repeated(self, times: int) -> "Transform":
        """Return the transform of inputs that consist of `times` adjacent parts, each with this transform."""

        def again(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat(times, *[1] * (x.dim() - 1))

        order = self.order
        if order is not None:
            order = (torch.arange(times).to(order)[:, None] * len(order) + order).reshape(-1)
        return Transform(again(self.smoothing), again(self.first), order, self.signs, again(self.second))


def block_size(channels: int, most: int) -> int:
    """Return the largest power of two that divides `channels`, but at most `most`."""
    return min(channels & -channels, most)


def blockwise(x: Tensor, rotations: Tensor) -> Tensor:
    """Multiply each block of x: [M, K] by its matrix in `rotations`: [K/B, B, B]."""
    blocks, size, _ = rotations.shape
    return torch.bmm(x.reshape(-1, blocks, size).transpose(0, 1), rotations.to(x)).transpose(0, 1).reshape(x.shape)


def signs(seed: int, block: int) -> Tensor:
    """Return random signs, ±1, float32[B], which depend only on `seed`."""
    return torch.from_numpy(np.where(seeding.noise(f"quantization/rotation/{seed}", (block,)) < 0, -1, 1)).float()


def smoothing(inputs: Tensor, weights: Tensor, alpha: float) -> Tensor | None:
    """Return Λ = inputs^α / weights^(1 − α) from the channels' maxima, float32[K] each; None for α = 0."""
    if not alpha:
        return None
    return (inputs.clamp(min=_TINY) ** alpha / weights.clamp(min=_TINY) ** (1 - alpha)).clamp(min=_TINY)


def zigzag(maxima: Tensor, block: int) -> Tensor:
    """Return the zigzag permutation, int64[K].

    Channels, in descending order of `maxima`: [K], are distributed over the K/B blocks in alternating directions.
    """
    ranked = torch.argsort(maxima, descending=True, stable=True).reshape(block, -1)  # a row: one channel for each block
    ranked[1::2] = ranked[1::2].flip(1)
    return ranked.T.reshape(-1).contiguous()


def choose(inputs: Tensor, weights: Tensor, rows: Tensor, configuration: QuantConfig, *, seed: str = "") -> Transform:
    """Choose the transform from the channels' maxima of inputs and weights, float32[K], and sampled input rows, [M, K].

    `seed` makes the greedy searches of different groups use different random numbers.
    """
    if configuration.method == "rtn":
        return Transform()
    block = block_size(len(inputs), configuration.block)
    scales = smoothing(inputs, weights, configuration.smoothing)
    smooth = inputs if scales is None else inputs / scales
    if configuration.method == "duquant":
        order = zigzag(smooth, block) if configuration.permute else None
        return Transform(smoothing=scales, order=order, signs=signs(configuration.seed, block) if block > 1 else None)
    rows = rows if scales is None else rows / scales
    seed = f"quantization/greedy/{configuration.seed}/{seed}"
    first = greedy(rows, block, seed=f"{seed}/1")
    rows = blockwise(rows, first)
    order = zigzag(rows.abs().amax(0), block) if configuration.permute else None
    rows = rows if order is None else rows[:, order]
    return Transform(smoothing=scales, first=first, order=order, second=greedy(rows, block, seed=f"{seed}/2"))


def greedy(rows: Tensor, block: int, *, seed: str) -> Tensor:
    """Return the greedy rotation, float32[K/B, B, B], of each block of rows: [M, K].

    A sequence of rotations is applied, each of which spreads the currently largest channel. The result is the product
    of those up to the step with the smallest maximum (arXiv 2406.01721, equations 4 to 6).
    """
    found = [
        _greedy(part, np.random.default_rng(_seed(f"{seed}/{i}")))
        for i, part in enumerate(rows.double().reshape(len(rows), -1, block).unbind(1))
    ]
    return torch.stack(found).float()


def _seed(key: str) -> list[int]:
    return [int(x) for x in seeding.noise(key, (4,)).view(np.uint32)]


def _greedy(rows: Tensor, draw: np.random.Generator) -> Tensor:
    size = rows.shape[1]
    total = best = torch.eye(size, dtype=torch.float64)
    if size == 1:
        return best
    spread, lowest, worse = _spreading(size), rows.abs().amax(), 0
    for _ in range(_GREEDY_STEPS):
        largest = int(rows.abs().amax(0).argmax())
        turn = spread @ _mixing(size, draw)
        turn = _swapped(turn, largest)
        rows, total = rows @ turn, total @ turn
        highest = rows.abs().amax()
        worse = worse + 1 if highest >= lowest else 0
        if highest < lowest:
            best, lowest = total, highest
        if worse == 32:  # a maximum that keeps growing does not fall again
            break
    return best


def _spreading(size: int) -> Tensor:
    """Return an orthogonal matrix, [B, B], whose first row is constant (a Householder reflection)."""
    v = torch.full((size,), size**-0.5, dtype=torch.float64)
    v[0] -= 1
    return torch.eye(size, dtype=torch.float64) - 2 * torch.outer(v, v) / v.dot(v)


def _mixing(size: int, draw: np.random.Generator) -> Tensor:
    """Return a random orthogonal matrix, [B, B], that leaves the first channel unchanged."""
    q, r = np.linalg.qr(draw.standard_normal((size - 1, size - 1)))
    mixed = torch.eye(size, dtype=torch.float64)
    mixed[1:, 1:] = torch.from_numpy(q * np.sign(np.diag(r)))
    return mixed


def _swapped(turn: Tensor, channel: int) -> Tensor:
    """Swap `channel` and the first channel in the rows and columns of `turn`."""
    order = torch.arange(len(turn))
    order[[0, channel]] = order[[channel, 0]]
    return turn[order][:, order]
