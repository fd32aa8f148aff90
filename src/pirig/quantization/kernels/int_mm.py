"""Compute with PyTorch's int8 matrix product, on CPU (oneDNN) and CUDA (cuBLAS).

The weight's codes are unpacked into the high bits of int8, which takes the fewest passes. The sum is then 2^(8 - width)
times too large.

The product on CUDA needs more than 16 rows, and multiples of 8 for K and N; inputs are padded with zeros, which do not
change the sums. oneDNN's product is not exact on every processor: without VNNI, it adds pairs of products in 16 bits,
which saturate. `proof.fault` therefore verifies the kernel before it is used.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels.kernel import ByChannels, Weight

_UNPACKED = {"cpu": 2**23, "cuda": 2**25}
"""The number of bytes that are unpacked at a time."""
_FEW = 64
"""Up to this number of rows, oneDNN is faster with the weight as left operand and rows in multiples of 16."""


class IntMM(ByChannels):
    name = "int_mm"

    def excess(self, bits: int) -> int:
        return 8 - packing.width(bits)

    def sums(self, codes: Tensor, weight: Weight) -> Iterator[tuple[slice, Tensor]]:
        rows, (n, k), cuda = codes.shape[0], (weight.rows, weight.columns), codes.is_cuda
        wide = k + (-k % 8 if cuda else 0)
        padded = max(24, rows + -rows % 8) if cuda else rows + -rows % 16 if 1 < rows <= _FEW else rows
        codes = F.pad(codes, (0, wide - k, 0, padded - rows))
        step = max(8, _UNPACKED[codes.device.type] // wide // 8 * 8)
        buffer = torch.zeros(min(step, n + -n % 8), wide, dtype=torch.int8, device=codes.device)
        for start in range(0, n, step):
            some = slice(start, min(start + step, n))
            own = buffer[: some.stop - start]
            packing.unpack_high(weight.packed[some], weight.bits, out=own[:, :k])
            if cuda:
                sums = torch._int_mm(codes, buffer[: len(own) + -len(own) % 8].T)
            else:
                sums = torch._int_mm(own, codes.T).T if rows <= _FEW else torch._int_mm(codes, own.T)
            yield some, sums[:rows, : len(own)]
