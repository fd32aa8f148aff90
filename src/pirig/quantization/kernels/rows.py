"""From activations to codes: gather, scale, rotate, quantize, each row by itself. The definition on every device.

Law 1: a row's bits depend on that row alone. Hence butterflies, elementwise additions in a fixed order, instead of a
matrix product, whose order of summation depends on the batch; and a maximum, which has no order.
Law 2: each operation is in float32 and rounded by itself: no fused multiply-add, division as in IEEE 754.
Law 3: what is not finite stays visible: such a row's scale is not finite either, and neither is what is made of it.

Axes: M rows, K columns, B columns of a block, L = K / B blocks.
"""

import torch
from torch import Tensor

from pirig.quantization import packing

SILENCE = 2.0**-100
"""A row whose magnitudes are below is a row of zeros; keeps quotients away from subnormal numbers."""
_CACHED = 2**20
"""Numbers that a CPU works on at a time: two buffers of 4 MiB stay in its caches."""


def quantize_rows(x: Tensor, vec: Tensor | None, order: Tensor | None, block: int, bits: int) -> tuple[Tensor, Tensor]:
    """Codes int8[M, K], within the bound of `bits`, and scales float32[M] of x: float[M, K].

    y = x[:, order] * vec, rotated on each `block` columns (a power of two; 1: not at all) by Hadamard's matrix in
    Sylvester's order, in stages with partners 1, 2, 4, … apart: (a, b) becomes (a + b, a - b). scale = max|y| / bound,
    or 1 for a row of zeros; codes are y / scale, rounded, half to even. The matrix's norm, float32(block^-1/2), is in
    the scale that is returned, and nowhere else.
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
        # By a tensor: CUDA multiplies by a number's reciprocal. Nothing to clamp: no quotient rounds beyond the bound.
        step_size = torch.where(largest < SILENCE, 1.0, largest / bound[: len(some)])
        quotient = torch.div(y, step_size[:, None], out=free).round_()
        own.view(-1, k // block, block).copy_(quotient.view(-1, block, k // block).transpose(1, 2))
        torch.mul(step_size, block**-0.5, out=scale)
    return codes, scales


def rotate(x: Tensor, block: int) -> Tensor:
    """What `quantize_rows` does to rows before it quantizes them, normalized; in the dtype of x: float[M, K]."""
    m, k = x.shape
    lanes = x.view(m, k // block, block).transpose(1, 2).reshape(m, k)
    y, _ = _butterflies(lanes.clone(), torch.empty_like(lanes), block)
    return y.view(m, block, k // block).transpose(1, 2).reshape(m, k) * block**-0.5


def _lanes(values: Tensor, block: int) -> Tensor:
    """From [L, B] to [B, L]: partners of any stage then lie at least L apart, which vector units like."""
    return values.view(-1, block).T.reshape(-1)


def _butterflies(y: Tensor, spare: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """All stages on rows of lanes; both buffers are overwritten. Returns the one with the result first."""
    m, k = y.shape
    half = 1
    while half < block:
        shape = (m, block // (2 * half), 2, half * k // block)
        (a, b), (total, difference) = y.view(shape).unbind(2), spare.view(shape).unbind(2)
        torch.add(a, b, out=total)
        torch.sub(a, b, out=difference)
        y, spare, half = spare, y, 2 * half
    return y, spare
