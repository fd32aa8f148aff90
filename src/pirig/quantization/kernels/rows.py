"""Quantize activations to codes: gather, scale, rotate, quantize, row by row. Defines the result on every device.

Law 1: A row's bits depend only on that row. Rotations are therefore butterflies, elementwise additions in a fixed
    order, because a matrix product's order of summation depends on the batch. A maximum does not depend on the order.
Law 2: Each operation is in float32 and rounded separately: no fused multiply-add, division as in IEEE 754.
Law 3: Values that are not finite are not hidden: the scale of such a row is not finite, nor is any result of it.

Axes: M rows, K columns, B columns of a block, L = K / B blocks.
"""

import torch
from torch import Tensor

from pirig.quantization import packing

SILENCE = 2.0**-100
"""A row whose magnitudes are all below this is treated as zeros. This keeps quotients out of the subnormal range."""
_CACHED = 2**20
"""The count of numbers that a CPU processes at a time: two buffers of 4 MiB stay in its caches."""


def quantize_rows(x: Tensor, vec: Tensor | None, order: Tensor | None, block: int, bits: int) -> tuple[Tensor, Tensor]:
    """Quantize x: float[M, K] to codes int8[M, K], within the bound of `bits`, and scales float32[M].

    y = x[:, order] * vec, with each `block` of columns (a power of two; 1: no rotation) rotated by Hadamard's matrix
    in Sylvester's order, in stages with partners 1, 2, 4, … apart: (a, b) becomes (a + b, a - b). The scale is
    max|y| / bound, or 1 for a row of zeros; the codes are y / scale, rounded half to even. The matrix's normalization,
    float32(block^-1/2), is applied to the returned scale only.
    """
    m, k = x.shape
    if block < 1 or block & (block - 1) or k % block:
        raise ValueError(f"blocks have {block} columns; needed is a power of two that divides {k}")
    order = _lanes(torch.arange(k, device=x.device) if order is None else order, block)
    vec = None if vec is None else _lanes(vec, block)
    codes = torch.empty(m, k, dtype=torch.int8, device=x.device)
    scales = torch.empty(m, dtype=torch.float32, device=x.device)
    step = max(1, _CACHED // k) if x.device.type == "cpu" else max(1, m)
    bound = torch.full((min(m, step),), packing.bound(bits), dtype=torch.float32, device=x.device)
    spare = torch.empty(min(m, step), k, dtype=torch.float32, device=x.device)
    for start in range(0, m, step):
        some, own, scale = (t[start : start + step] for t in (x, codes, scales))
        y = some.gather(1, order.expand(len(some), k)).float()
        y, free = _butterflies(y if vec is None else y.mul_(vec), spare[: len(some)], block)
        largest = torch.abs(y, out=free).amax(dim=1)
        # The divisor is a tensor, because CUDA replaces division by a number with a product by its reciprocal.
        # Codes need no clamping, because no quotient rounds beyond the bound.
        step_size = torch.where(largest < SILENCE, 1.0, largest / bound[: len(some)])
        quotient = torch.div(y, step_size[:, None], out=free).round_()
        own.view(-1, k // block, block).copy_(quotient.view(-1, block, k // block).transpose(1, 2))
        torch.mul(step_size, block**-0.5, out=scale)
    return codes, scales


def rotate(x: Tensor, block: int) -> Tensor:
    """Rotate rows as `quantize_rows` does, but normalized, in the dtype of x: float[M, K]."""
    m, k = x.shape
    lanes = x.view(m, k // block, block).transpose(1, 2).reshape(m, k)
    y, _ = _butterflies(lanes.clone(), torch.empty_like(lanes), block)
    return y.view(m, block, k // block).transpose(1, 2).reshape(m, k) * block**-0.5


def _lanes(values: Tensor, block: int) -> Tensor:
    """Reorder [L, B] to [B, L]. Partners of any stage are then at least L apart, which suits vector units."""
    return values.view(-1, block).T.reshape(-1)


def _butterflies(y: Tensor, spare: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Apply all stages to rows of lanes. Overwrites both buffers, and returns the one with the result first."""
    m, k = y.shape
    half = 1
    while half < block:
        shape = (m, block // (2 * half), 2, half * k // block)
        (a, b), (total, difference) = y.view(shape).unbind(2), spare.view(shape).unbind(2)
        torch.add(a, b, out=total)
        torch.sub(a, b, out=difference)
        y, spare, half = spare, y, 2 * half
    return y, spare
