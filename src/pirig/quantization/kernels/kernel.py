"""Define the interface of kernels. Axes: M rows (tokens), K input channels, N output channels.

Law 1: `product` is the exact integer sum, bit-identical for all kernels. The sum of integers does not depend on their
    order, so tiles, splits of K and the batch do not change it.
Law 2: `linear` is (sum * sx[:, None]) * sw[None, :] (+ bias) in float32. Each operation is rounded separately, in this
    order, and the result is rounded once to `dtype`. The sum is rounded to float32 if it exceeds 2^24.
Law 3: `quantize_rows` returns the bits of `rows.quantize_rows`.
Law 4: It follows that no row of a result depends on the other rows, and no bit on the kernel.
"""

import abc
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels import rows

MOST_COLUMNS = 2**16
"""The sum of this many products of 128 * 128 fits into int32."""


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """The packed codes of a linear layer."""

    packed: Tensor  # uint8[N, K width / 8]
    bits: int
    columns: int  # K

    def __post_init__(self):
        expected = (torch.uint8, packing.packed_columns(self.columns, self.bits))
        if (self.packed.dtype, self.packed.shape[1]) != expected or self.packed.dim() != 2:
            found = f"{self.packed.dtype}{list(self.packed.shape)}"
            raise ValueError(f"packed codes are {found}; {self.bits} bits of {self.columns} columns are {expected}")
        if self.columns > MOST_COLUMNS:
            raise ValueError(f"a row has {self.columns} columns; a 32-bit sum holds {MOST_COLUMNS}")

    @property
    def rows(self) -> int:
        return self.packed.shape[0]

    @property
    def device(self) -> torch.device:
        return self.packed.device

    def to(self, device: torch.device | str) -> "Weight":
        return dataclasses.replace(self, packed=self.packed.to(device))


class Kernel(abc.ABC):
    """A kernel multiplies codes on one type of device. It has no observable state."""

    name: str

    @abc.abstractmethod
    def product(self, codes: Tensor, weight: Weight) -> Tensor:
        """Multiply codes: int8[M, K] by a weight, to int32[M, N]."""

    @abc.abstractmethod
    def linear(
        self, codes: Tensor, sx: Tensor, weight: Weight, sw: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Compute the layer's output, [M, N] of `dtype`.

        The inputs are codes: int8[M, K], their scales sx: float32[M] and the weight's scales sw: float32[N].
        """

    def quantize_rows(
        self, x: Tensor, vec: Tensor | None, order: Tensor | None, block: int, bits: int
    ) -> tuple[Tensor, Tensor]:
        """Quantize x: float[M, K] to codes int8[M, K] and scales float32[M]."""
        return rows.quantize_rows(x, vec, order, block, bits)


class ByChannels(Kernel):
    """A kernel on PyTorch's operations. It processes some output channels at a time, to limit the unpacked codes."""

    def product(self, codes: Tensor, weight: Weight) -> Tensor:
        check(codes, weight)
        y = torch.empty(codes.shape[0], weight.rows, dtype=torch.int32, device=codes.device)
        for some, sums in self.sums(codes, weight):
            y[:, some] = sums
        return y.bitwise_right_shift_(self.excess(weight.bits))

    def linear(
        self, codes: Tensor, sx: Tensor, weight: Weight, sw: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        check(codes, weight)
        y = torch.empty(codes.shape[0], weight.rows, dtype=dtype, device=codes.device)
        sw = sw * 0.5 ** self.excess(weight.bits)  # a power of two changes no rounding
        for some, sums in self.sums(codes, weight):
            scaled = torch.mul(sums, sx[:, None]).mul_(sw[some])
            y[:, some] = scaled if bias is None else scaled.add_(bias[some])
        return y

    def excess(self, bits: int) -> int:
        """Return the power of 2 by which `sums` multiplies the sums."""
        return 0

    @abc.abstractmethod
    def sums(self, codes: Tensor, weight: Weight) -> Iterator[tuple[slice, Tensor]]:
        """Yield all output channels, in slices, with their sums [M, n]: int32, or float32 if that is exact."""


def check(codes: Tensor, weight: Weight) -> None:
    """Check dtype, shape and device of codes. Otherwise, a kernel would read out of bounds or on the wrong device.

    Raises ValueError if they do not match the weight.
    """
    found, expected = (codes.dtype, codes.shape[1:], codes.device), (torch.int8, (weight.columns,), weight.device)
    if found != expected:
        raise ValueError(f"codes are {codes.dtype}{list(codes.shape)} on {codes.device}; {expected} was expected")
