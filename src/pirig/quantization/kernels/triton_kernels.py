"""Implement CUDA kernels in Triton: the product of int8 codes with packed codes, and the quantization of rows.

The weight is the left operand. Its codes are unpacked in registers, from which tensor cores read the left operand, and
a few tokens are a narrow right operand. A byte holds codes of 8/width runs of columns, so a tile of bytes takes part in
that many products, each with its own run of the input. Codes stay in the high bits, and the sum is shifted once.

Law: The results are bit-identical to those of `kernel.Kernel` and `rows.quantize_rows`. Sums are integers, so tiles and
    splits of K do not change them. Floating point is compiled without fused multiply-add, and division is `div_rn`,
    because Triton's `/` is an approximation.

The operation before the quantization of rows, a norm or GeGLU, is not fused with it. A mean depends on the order of
summation and a tanh has many roundings, so the bits would depend on the kernel.

With TRITON_INTERPRET=1, set before Triton is first imported, all kernels run on CPU tensors, slowly.
"""

import dataclasses

import torch
import triton
import triton.language as tl
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels.kernel import Kernel, Weight, check
from pirig.quantization.kernels.rows import SILENCE

_SILENCE = tl.constexpr(SILENCE)
_ROUND = tl.constexpr(1.5 * 2.0**23)  # adding and subtracting it rounds values below 2^22, half to even


@dataclasses.dataclass(frozen=True)
class Tile:
    """The tile that one program computes. Its sizes are powers of two, at least 16, 16 and 32."""

    tokens: int
    channels: int
    bytes: int  # of the packed row that are processed at a time
    split: int = 1  # programs that share K
    warps: int = 4
    stages: int = 4


def tile(m: int, n: int, row: int) -> Tile:
    """Choose the tile for m tokens, n output channels and `row` bytes, from the shape alone.

    The choice has not been tuned, because no GPU was available.
    """
    tokens = min(128, max(16, triton.next_power_of_2(m)))
    few = tokens <= 32
    channels, step = (64, 128) if few else (128, 64)
    step = min(step, max(32, triton.next_power_of_2(row)))
    programs = triton.cdiv(n, channels) * triton.cdiv(m, tokens)
    most = max(1, row // (4 * step))  # a program should have at least four rounds
    split = min(triton.next_power_of_2(max(1, 128 // programs)), most, 8)
    return Tile(tokens, channels, step, split, warps=4 if tokens < 128 else 8, stages=4 if few else 3)


class Triton(Kernel):
    name = "triton"

    def product(self, codes: Tensor, weight: Weight) -> Tensor:
        return multiply(codes, weight, torch.int32)

    def linear(
        self, codes: Tensor, sx: Tensor, weight: Weight, sw: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        return multiply(codes, weight, dtype, sx, sw, bias)

    def quantize_rows(
        self, x: Tensor, vec: Tensor | None, order: Tensor | None, block: int, bits: int
    ) -> tuple[Tensor, Tensor]:
        m, k = x.shape
        if block < 1 or block & (block - 1) or k % block:
            raise ValueError(f"blocks have {block} columns; needed is a power of two that divides {k}")
        codes = torch.empty(m, k, dtype=torch.int8, device=x.device)
        scales = torch.empty(m, dtype=torch.float32, device=x.device)
        wide = triton.next_power_of_2(k)
        x = x if x.stride(1) == 1 else x.contiguous()
        if not m:
            return codes, scales
        with torch.cuda.device_of(x):  # Triton launches on the current device
            _quantize_rows[(m,)](
                x, x if vec is None else vec, x if order is None else order, codes, scales, x.stride(0), k,
                VEC=vec is not None, ORDER=order is not None, WIDE=wide, BLOCK=block, STAGES=block.bit_length() - 1,
                BOUND=float(packing.bound(bits)), NORM=float(block) ** -0.5,
                num_warps=min(16, max(1, wide // 512)), enable_fp_fusion=False,
            )  # fmt: skip
        return codes, scales


def multiply(
    codes: Tensor,
    weight: Weight,
    dtype: torch.dtype,
    sx: Tensor | None = None,
    sw: Tensor | None = None,
    bias: Tensor | None = None,
    shape: Tile | None = None,
) -> Tensor:
    """Multiply codes by a weight: [M, N] of `dtype`. The sums are scaled if scales are given.

    `shape` overrides the tile that `tile` chooses.
    """
    check(codes, weight)
    (m, k), n, row = codes.shape, weight.rows, weight.packed.shape[1]
    shape = shape or tile(m, n, row)
    y = torch.empty(m, n, dtype=dtype, device=codes.device)
    if not m * n:
        return y
    codes, packed = codes.contiguous(), weight.packed.contiguous()
    parts = y if shape.split == 1 else torch.empty(shape.split, m, n, dtype=torch.int32, device=codes.device)
    flags = {"SCALED": sx is not None, "BIAS": bias is not None}
    sx, sw, bias = (codes if t is None else t for t in (sx, sw, bias))
    grid = (triton.cdiv(n, shape.channels), triton.cdiv(m, shape.tokens), shape.split)
    with torch.cuda.device_of(codes):
        _multiply[grid](
            codes, packed, sx, sw, bias, parts, m, n, k, row,
            **(flags if shape.split == 1 else {"SCALED": False, "BIAS": False}),
            WIDTH=packing.width(weight.bits), TOKENS=shape.tokens, CHANNELS=shape.channels, BYTES=shape.bytes,
            SPLIT=shape.split, WHOLE=row % (shape.bytes * shape.split) == 0,
            num_warps=shape.warps, num_stages=shape.stages, enable_fp_fusion=False,
        )  # fmt: skip
        if shape.split > 1:
            _join[(triton.cdiv(n, 256), m)](
                parts, sx, sw, bias, y, m, n, SPLIT=shape.split, CHANNELS=256, **flags, enable_fp_fusion=False
            )
    return y


@triton.jit
def _multiply(
    codes, packed, sx, sw, bias, y, m, n, k, row,
    SCALED: tl.constexpr, BIAS: tl.constexpr, WIDTH: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
    BYTES: tl.constexpr, SPLIT: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """Compute y[part, token, channel]. Each program computes one tile of one part of K."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    here, there = channel < n, token < m
    rounds = tl.cdiv(row, BYTES * SPLIT)
    byte = tl.program_id(2) * rounds * BYTES + tl.arange(0, BYTES)
    weights = packed + channel.to(tl.int64)[:, None] * row + byte[None, :]
    inputs = codes + token.to(tl.int64)[None, :] * k + byte[:, None]
    sums = tl.zeros((CHANNELS, TOKENS), tl.int32)
    for _ in range(rounds):
        if WHOLE:
            some = tl.load(weights, mask=here[:, None], other=0)
        else:
            some = tl.load(weights, mask=here[:, None] & (byte < row)[None, :], other=0)
        for run in tl.static_range(8 // WIDTH):
            high = ((some << (8 - WIDTH - run * WIDTH)) & (256 - (1 << (8 - WIDTH)))).to(tl.uint8)
            if WHOLE:
                x = tl.load(inputs + run * row, mask=there[None, :], other=0)
            else:
                x = tl.load(inputs + run * row, mask=there[None, :] & (byte < row)[:, None], other=0)
            sums = tl.dot(high.to(tl.int8, bitcast=True), x, sums, out_dtype=tl.int32)
        weights += BYTES
        inputs += BYTES
        byte += BYTES
    sums = sums >> (8 - WIDTH)
    inside = here[:, None] & there[None, :]
    to = y + (tl.program_id(2).to(tl.int64) * m + token.to(tl.int64))[None, :] * n + channel[:, None]
    if SCALED:
        by_token = tl.load(sx + token, mask=there, other=0)
        by_channel = tl.load(sw + channel, mask=here, other=0)
        scaled = sums.to(tl.float32) * by_token[None, :] * by_channel[:, None]
        if BIAS:
            scaled += tl.load(bias + channel, mask=here, other=0)[:, None]
        tl.store(to, scaled.to(y.dtype.element_ty), mask=inside)
    else:
        tl.store(to, sums, mask=inside)


@triton.jit
def _join(
    parts, sx, sw, bias, y, m, n,
    SPLIT: tl.constexpr, CHANNELS: tl.constexpr, SCALED: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """Add the sums over the parts of K, parts: int32[SPLIT, M, N]."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    token = tl.program_id(1).to(tl.int64)
    here = channel < n
    sums = tl.zeros((CHANNELS,), tl.int32)
    for part in tl.static_range(SPLIT):
        sums += tl.load(parts + (part * m + token) * n + channel, mask=here, other=0)
    if SCALED:
        scaled = sums.to(tl.float32) * tl.load(sx + token) * tl.load(sw + channel, mask=here, other=0)
        if BIAS:
            scaled += tl.load(bias + channel, mask=here, other=0)
        tl.store(y + token * n + channel, scaled.to(y.dtype.element_ty), mask=here)
    else:
        tl.store(y + token * n + channel, sums, mask=here)


@triton.jit
def _quantize_rows(
    x, vec, order, codes, scales, stride, k,
    VEC: tl.constexpr, ORDER: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
    BOUND: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """Quantize rows. Each program processes one row, padded with zeros to a power of two."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDE)
    here = column < k
    source = tl.load(order + column, mask=here, other=0) if ORDER else column
    y = tl.load(x + row * stride + source, mask=here, other=0).to(tl.float32)
    if VEC:
        y *= tl.load(vec + column, mask=here, other=0)
    for _ in tl.static_range(STAGES):
        # Partners 1, 2, 4, … apart: after each stage the lowest bit of a column's number becomes its highest.
        a, b = tl.split(tl.reshape(y, (WIDE // BLOCK, BLOCK // 2, 2)))
        y = tl.reshape(tl.permute(tl.join(a + b, a - b), (0, 2, 1)), (WIDE,))
    largest = tl.max(tl.abs(y), axis=0)
    step = tl.where(largest < _SILENCE, 1.0, tl.div_rn(largest, BOUND))
    step = tl.where(tl.sum((y != y).to(tl.int32), axis=0) > 0, float("nan"), step)  # a maximum ignores NaN
    quotient = tl.div_rn(y, tl.zeros((WIDE,), tl.float32) + step)
    tl.store(codes + row * k + column, ((quotient + _ROUND) - _ROUND).to(tl.int8), mask=here)
    tl.store(scales + row, step * NORM)
