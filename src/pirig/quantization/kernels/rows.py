"""From activations to codes: gather, scale, rotate, quantize, each row by itself. The definition on every device.

Law 1: a row's bits depend on that row alone. Hence butterflies, elementwise additions in a fixed order, instead of a
matrix product, whose order of summation depends on the batch; and a maximum, which has no order.
Law 2: each operation is in float32 and rounded by itself: no fused multiply-add, division as in IEEE 754.
Law 3: what is not finite stays visible: such a row's scale is not finite either, and neither is what is made of it.
"""

import math

import torch
from torch import Tensor

from pirig.quantization import packing

SILENCE = 2.0**-100
"""A row whose magnitudes are below is a row of zeros; keeps quotients away from subnormal numbers."""


def quantize_rows(x: Tensor, vec: Tensor | None, order: Tensor | None, block: int, bits: int) -> tuple[Tensor, Tensor]:
    """Codes int8[M, K], within the bound of `bits`, and scales float32[M] of x: float[M, K].

    y = rotate(x[:, order] * vec), scale = max|y| / bound, code = y / scale rounded, half to even. A row of zeros has
    the scale 1. `block`: columns that are rotated together, a power of two; 1: no rotation.
    """
    y = x if order is None else x.index_select(1, order)
    y = y.float()
    y = rotate(y if vec is None else y * vec, block)
    bound = packing.bound(bits)
    largest = y.abs().amax(dim=1)
    scale = torch.where(largest < SILENCE, 1.0, largest / bound)
    return (y / scale[:, None]).round_().clamp_(-bound, bound).to(torch.int8), scale


def rotate(x: Tensor, block: int) -> Tensor:
    """Hadamard's matrix in Sylvester's order, normalized, on each `block` columns of x: float32[M, K].

    Stage by stage, partners 1, 2, 4, … apart: (a, b) becomes (a + b, a - b); then all times float32(block^-1/2).
    """
    m, k = x.shape
    if block & (block - 1) or k % block:
        raise ValueError(f"blocks have {block} columns; needed is a power of two that divides {k}")
    half = 1
    while half < block:
        a, b = x.view(m, k // (2 * half), 2, half).unbind(2)
        x = torch.stack([a + b, a - b], dim=2).view(m, k)
        half *= 2
    return x if block == 1 else x * torch.tensor(math.sqrt(1 / block), dtype=torch.float32)
