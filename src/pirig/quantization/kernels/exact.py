"""Compute the CPU reference: float32 matrix products of integers, which are exact if no sum can exceed 2^24.

In whatever order a BLAS adds, all partial sums are then integers up to 2^24, which float32 represents exactly. The
magnitude of an input code is at most 128, that of a weight code 2^(bits - 1). This allows 16384 columns at 4 bits,
which is the longest row of π0, and 1024 at 8 bits. Longer rows are summed in parts, which are added as int32. (Codes
are unpacked into the high bits of int8. All numbers are then multiples of a power of two, which is equally exact.)
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels.kernel import ByChannels, Weight

_UNPACKED = 2**20
"""The number of codes that are unpacked at a time, 4 MiB as float32."""


class Exact(ByChannels):
    name = "exact"

    def excess(self, bits: int) -> int:
        return 8 - packing.width(bits)

    def sums(self, codes: Tensor, weight: Weight) -> Iterator[tuple[slice, Tensor]]:
        n, k = weight.rows, weight.columns
        longest = 2**24 // (128 * 2 ** (weight.bits - 1))
        step = max(1, min(n, _UNPACKED // k))
        inputs, high, floats = codes.float(), torch.empty(step, k, dtype=torch.int8), torch.empty(step, k)
        for start in range(0, n, step):
            some = slice(start, min(start + step, n))
            count = some.stop - start
            packing.unpack_high(weight.packed[some], weight.bits, out=high[:count])
            own = floats[:count].copy_(high[:count])
            if k <= longest:
                yield some, inputs @ own.T
                continue
            sums = torch.zeros(codes.shape[0], count, dtype=torch.int32)
            for first in range(0, k, longest):
                run = slice(first, first + longest)
                sums += (inputs[:, run] @ own[:, run].T).to(torch.int32)
            yield some, sums
