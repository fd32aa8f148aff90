"""The CPU reference: float32 matrix products of integers, which are exact as long as no sum can exceed 2^24.

Whatever order a BLAS adds in, all its partial sums are integers up to 2^24, which float32 holds. A code of the input
is at most 128, one of the weight 2^(bits - 1): 16384 columns at 4 bits, which is the longest row of π0, and 1024 at 8.
Longer rows are summed in parts, which are added as int32.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels.kernel import ByChannels, Weight

_UNPACKED = 2**21
"""Codes that are unpacked at a time: 8 MiB as float32."""


class Exact(ByChannels):
    name = "exact"

    def sums(self, codes: Tensor, weight: Weight) -> Iterator[tuple[slice, Tensor]]:
        columns, bits = weight.columns, weight.bits
        longest = 2**24 // (128 * 2 ** (bits - 1))
        inputs = codes.float()
        step = max(1, _UNPACKED // columns)
        for start in range(0, weight.rows, step):
            some = slice(start, min(start + step, weight.rows))
            own = packing.unpack(weight.packed[some], bits, columns).float()
            if columns <= longest:
                yield some, inputs @ own.T
                continue
            sums = torch.zeros(codes.shape[0], own.shape[0], dtype=torch.int32)
            for first in range(0, columns, longest):
                run = slice(first, first + longest)
                sums += (inputs[:, run] @ own[:, run].T).to(torch.int32)
            yield some, sums
