"""What a kernel promises. Axes: M rows (tokens), K input channels, N output channels.

Law 1: `product` is the exact integer sum, bit for bit that of any other kernel: addition of integers has no order, so
no tile, no split of K and no batch changes it.
Law 2: `linear` is (sum * sx[:, None]) * sw[None, :] (+ bias) in float32, each operation rounded by itself and in this
order, then rounded once to `dtype`. The sum is rounded to float32 where it exceeds 2^24.
Law 3: `quantize_rows` gives the bits of `rows.quantize_rows`.
Law 4: so no row of an answer depends on the other rows, and no bit on the kernel.
"""

import abc
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels import rows

MOST_COLUMNS = 2**16
"""128 * 128 of them stay inside int32."""


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """Packed codes of a linear layer."""

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
    """Multiplies codes on one kind of device. Has no state that a caller could see."""

    name: str

    @abc.abstractmethod
    def product(self, codes: Tensor, weight: Weight) -> Tensor:
        """int32[M, N] from codes: int8[M, K]."""

    @abc.abstractmethod
    def linear(
        self, codes: Tensor, sx: Tensor, weight: Weight, sw: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """[M, N] of `dtype` from codes: int8[M, K], their scales sx: float32[M] and the weight's sw: float32[N]."""

    def quantize_rows(
        self, x: Tensor, vec: Tensor | None, order: Tensor | None, block: int, bits: int
    ) -> tuple[Tensor, Tensor]:
        """Codes int8[M, K] and scales float32[M] of x: float[M, K]."""
        return rows.quantize_rows(x, vec, order, block, bits)


class ByChannels(Kernel):
    """With what PyTorch has: some output channels at a time, so that what is unpacked for them stays small."""

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
        """`sums` gives them times 2 to this power."""
        return 0

    @abc.abstractmethod
    def sums(self, codes: Tensor, weight: Weight) -> Iterator[tuple[slice, Tensor]]:
        """All output channels, in parts, with their sums [M, n]: int32, or float32 where that is exact."""


def check(codes: Tensor, weight: Weight) -> None:
    """A kernel would read beyond its input, or on the wrong device, without this."""
    found, expected = (codes.dtype, codes.shape[1:], codes.device), (torch.int8, (weight.columns,), weight.device)
    if found != expected:
        raise ValueError(f"codes are {codes.dtype}{list(codes.shape)} on {codes.device}; {expected} was expected")
