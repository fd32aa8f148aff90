"""Compute a linear layer with integers: input to codes, codes times packed codes, sums to floats.

    x ─ remaining transform ─► int8 codes, a scale for each row ─► int32 sums ─► · sx · sw (+ bias)

Law: If activations are quantized, a row of the output does not depend on the other rows.
"""

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pirig.quantization import packing
from pirig.quantization.configuration import FLOAT
from pirig.quantization.kernels import Kernel, Weight
from pirig.quantization.rounding import steps
from pirig.quantization.transform import Transform


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """The packed weight of one layer, or of several layers with the same input, whose rows are concatenated."""

    codes: Tensor  # uint8[G, N, K width / 8 / G]; G is 1 if columns are not grouped
    scale: Tensor  # float32[N]
    share: Tensor | None  # int8[N, G]
    bits: int
    columns: int  # K
    bias: Tensor | None = None  # float32[N]

    @staticmethod
    def join(parts: Sequence["Packed"]) -> "Packed":
        first = parts[0]

        def cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
            present = [x for x in tensors if x is not None]
            return torch.cat(present) if len(present) == len(parts) else None

        codes, scale = torch.cat([part.codes for part in parts], dim=1), torch.cat([part.scale for part in parts])
        share, bias = cat([part.share for part in parts]), cat([part.bias for part in parts])
        return Packed(codes, scale, share, first.bits, first.columns, bias)

    def rows(self, start: int, stop: int) -> "Packed":
        """Return a view of some rows."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[start:stop]

        codes = self.codes[:, start:stop]
        return Packed(codes, self.scale[start:stop], cut(self.share), self.bits, self.columns, cut(self.bias))

    def weights(self) -> list[Weight]:
        """Return one weight for each group of columns."""
        return [Weight(part, self.bits, self.columns // len(self.codes)) for part in self.codes]

    def dequantized(self) -> Tensor:
        """Return the dequantized weight, float32[N, K]."""
        codes = [packing.unpack(weight.packed, weight.bits, weight.columns) for weight in self.weights()]
        return torch.cat(codes, dim=1).float() * steps(self.scale, self.share, self.columns)


class QuantizedLinear(nn.Module):
    """A quantized linear layer replaces an nn.Linear. `transform` is the part that is still applied to its input."""

    vec: Tensor | None
    order: Tensor | None

    def __init__(self, packed: Packed, transform: Transform, activation_bits: int, kernel: Kernel):
        super().__init__()
        self.in_features, self.out_features = packed.columns, len(packed.scale)
        self.activation_bits, self.kernel, self.transform = activation_bits, kernel, transform
        self._hold(packed)
        self._turns = transform.first is not None or transform.second is not None  # matrices instead of butterflies
        self.register_buffer("vec", None if self._turns else _vector(transform, packed.columns))
        self.register_buffer("order", None if self._turns else transform.order)
        self.block = 1 if transform.signs is None else len(transform.signs)
        for name in ("first", "second"):
            self.register_buffer(name, getattr(transform, name))

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(x.reshape(-1, self.in_features)).to(x.dtype).view(*x.shape[:-1], -1)

    def joined_with(self, others: Sequence[nn.Module]) -> "QuantizedLinear | None":
        """Return one layer that replaces several with the same input. The layers' weights become views of its weight.

        Returns None if the layers differ in more than their rows.
        """
        parts = [self, *(other for other in others if isinstance(other, QuantizedLinear))]
        alike = {(part.transform, part.activation_bits, part.packed.bits, part.packed.share is None) for part in parts}
        if len(parts) != len(others) + 1 or len(alike) != 1:
            return None
        whole = Packed.join([part.packed for part in parts])
        start = 0
        for part in parts:
            part._hold(whole.rows(start, start + part.out_features))
            start += part.out_features
        return QuantizedLinear(whole, self.transform, self.activation_bits, self.kernel)

    def _hold(self, packed: Packed) -> None:
        self.packed = packed
        self._weights = packed.weights()
        for name in ("codes", "scale", "share", "bias"):
            self.register_buffer(name, getattr(packed, name))

    def _multiply(self, x: Tensor) -> Tensor:
        """Compute the output, [M, N], from the input, [M, K]."""
        if self.activation_bits == FLOAT:
            turned = self.transform.inputs(x.float()).to(x.dtype)
            bias = None if self.packed.bias is None else self.packed.bias.to(x.dtype)
            return F.linear(turned, self.packed.dequantized().to(x.dtype), bias)
        turned = self._turned(x) if self._turns else x
        codes, scale = self.kernel.quantize_rows(turned, self.vec, self.order, self.block, self.activation_bits)
        if self.packed.share is None:
            return self.kernel.linear(codes, scale, self._weights[0], self.packed.scale, self.packed.bias, x.dtype)
        return self._grouped(codes, scale)

    def _turned(self, x: Tensor) -> Tensor:
        """Apply the paper's transform row by row.

        The rounding of one matrix product of several rows would depend on the number of rows.
        """
        return torch.cat([self.transform.inputs(row[None]) for row in x.float()])

    def _grouped(self, codes: Tensor, scale: Tensor) -> Tensor:
        """Compute the output, float32[M, N], for grouped columns.

        Σ share · sum is an integer below 2³¹ · 127, so int64 holds it.
        """
        assert self.packed.share is not None
        total = torch.zeros(len(codes), self.out_features, dtype=torch.int64, device=codes.device)
        for i, weight in enumerate(self._weights):
            part = codes[:, i * weight.columns : (i + 1) * weight.columns].contiguous()
            total += self.kernel.product(part, weight) * self.packed.share[:, i].long()
        y = total.float() * scale[:, None] * self.packed.scale
        return y if self.packed.bias is None else y + self.packed.bias


def _vector(transform: Transform, columns: int) -> Tensor | None:
    """Return smoothing and signs as one factor for each channel, in the permuted order: float32[K]."""
    if transform.smoothing is None and transform.signs is None:
        return None
    device = next(iter(transform.tensors().values())).device
    vec = torch.ones(columns, device=device) if transform.smoothing is None else 1 / transform.smoothing
    vec = vec if transform.order is None else vec[transform.order]
    return vec if transform.signs is None else vec * transform.signs.repeat(columns // len(transform.signs))
