"""PyTorch's own int8 product, on CPU (oneDNN) and CUDA (cuBLAS).

The weight's codes are unpacked into the high bits of int8, some output channels at a time, so that they stay in a
processor's cache; the sum is then 2^(8 - width) times too large, and a shift of it is cheaper than one of the codes.

CUDA's needs more than 16 rows, and K and N in multiples of 8; what lacks is filled with zeros, which add nothing.
oneDNN's is not exact on every processor: without VNNI it adds pairs of products in 16 bits, which saturate. So
`faults` computes the worst case before anything is believed.
"""

import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels.kernel import Kernel, Weight, finish

_UNPACKED = {"cpu": 2**21, "cuda": 2**25}
"""Bytes that are unpacked at a time."""


class IntMM(Kernel):
    name = "int_mm"

    def product(self, codes: Tensor, weight: Weight) -> Tensor:
        sums = torch.empty(codes.shape[0], weight.rows, dtype=torch.int32, device=codes.device)
        for part, own in _sums(codes, weight):
            sums[:, part] = own
        return sums

    def linear(
        self, codes: Tensor, sx: Tensor, weight: Weight, sw: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        y = torch.empty(codes.shape[0], weight.rows, dtype=dtype, device=codes.device)
        for part, own in _sums(codes, weight):
            y[:, part] = finish(own.float(), sx, sw[part], None if bias is None else bias[part])
        return y


def _sums(codes: Tensor, weight: Weight) -> Iterator[tuple[slice, Tensor]]:
    """Output channels, some at a time, and their sums int32[M, n]."""
    rows, (n, k), cuda = codes.shape[0], (weight.rows, weight.columns), codes.is_cuda
    up = 8 - packing.width(weight.bits)
    wide = k + (-k % 8 if cuda else 0)
    if cuda:
        codes = F.pad(codes, (0, wide - k, 0, max(0, 24 - rows)))
    step = max(8, _UNPACKED[codes.device.type] // wide // 8 * 8)
    buffer = torch.zeros(min(step, n + -n % 8), wide, dtype=torch.int8, device=codes.device)
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        count = part.stop - start
        packing.unpack_high(weight.packed[part], weight.bits, out=buffer[:count, :k])
        sums = torch._int_mm(codes, buffer[: count + (-count % 8 if cuda else 0)].T)
        yield part, (sums.bitwise_right_shift_(up) if up else sums)[:rows, :count]


@functools.cache
def faults(device: str) -> str:
    """Why this kernel cannot be used on a kind of device; empty: it can."""
    kernel = IntMM()
    for rows, columns in ((1, 256), (2, 4096), (33, 1024)):
        for a in (127, -128):
            for b in (127, -128):
                codes = torch.full((rows, columns), a, dtype=torch.int8, device=device)
                weight = torch.full((64, columns), b, dtype=torch.int8, device=device)
                try:
                    sums = kernel.product(codes, Weight(packing.pack(weight, 8), 8, columns))
                except RuntimeError as e:
                    return str(e)
                if not bool((sums == a * b * columns).all()):
                    return f"torch._int_mm is not exact here: {columns} times {a} * {b} is {int(sums[0, 0])}"
    return ""
