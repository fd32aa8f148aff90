"""Integer codes of a weight, packed as they lie in a pack and on a device.

Axes: N output channels (rows), K input channels (columns).

Law 1: `unpack(pack(codes, bits), bits, K)` is `codes`, for every code that the width holds, -2^(width - 1) included.
Law 2: a code takes `width(bits)` bits: 2 for 2; 4 for 3 and 4; 8 for 5 to 8. Two's complement.
Law 3: rows are apart, so packed rows may be joined, split and put in another order.
Law 4: byte j of a row holds the columns j + i K', K' bytes in a row, from its low bits up. So a row is 8/width runs of
columns, each of which a kernel gets from all its bytes by one shift and one mask, and nothing is interleaved.

What the quantizer makes is symmetric, within `bound(bits)`.
"""

import torch
from torch import Tensor


def width(bits: int) -> int:
    """Bits that a code takes up."""
    if not 2 <= bits <= 8:
        raise ValueError(f"codes have {bits} bits; 2 to 8 can be packed")
    return 2 if bits == 2 else 4 if bits <= 4 else 8


def bound(bits: int) -> int:
    """The greatest code; the least is its negative."""
    return 2 ** (bits - 1) - 1


def packed_columns(columns: int, bits: int) -> int:
    """Bytes in a row."""
    runs = 8 // width(bits)
    if columns % runs:
        raise ValueError(f"rows have {columns} columns; with {bits} bits it must be a multiple of {runs}")
    return columns // runs


def pack(codes: Tensor, bits: int) -> Tensor:
    """uint8[N, K width / 8] from int8[N, K]. Raises ValueError for a code that `bits` do not hold."""
    step, runs = packed_columns(codes.shape[1], bits), 8 // width(bits)
    if codes.numel() and not -bound(bits) - 1 <= int(codes.min()) <= int(codes.max()) <= bound(bits):
        found = f"{int(codes.min())} to {int(codes.max())}"
        raise ValueError(f"codes go from {found}; {bits} bits hold {-bound(bits) - 1} to {bound(bits)}")
    if runs == 1:
        return codes.clone(memory_format=torch.contiguous_format).view(torch.uint8)
    packed = torch.zeros(codes.shape[0], step, dtype=torch.uint8, device=codes.device)
    for i in range(runs):
        run = codes[:, i * step : (i + 1) * step].contiguous().view(torch.uint8) & (2 ** width(bits) - 1)
        packed |= run << i * width(bits)
    return packed


def unpack(packed: Tensor, bits: int, columns: int) -> Tensor:
    """int8[N, K] from uint8[N, K width / 8]."""
    codes = torch.empty(packed.shape[0], columns, dtype=torch.int8, device=packed.device)
    unpack_high(packed, bits, out=codes)
    return codes.bitwise_right_shift_(8 - width(bits))


def unpack_high(packed: Tensor, bits: int, *, out: Tensor) -> None:
    """Codes times 2^(8 - width) into out: int8[N, K], for a kernel that undoes it in the sum: a pass less."""
    step, size = packed_columns(out.shape[1], bits), width(bits)
    if packed.shape != (out.shape[0], step):
        raise ValueError(
            f"packed codes are {list(packed.shape)}; {[out.shape[0], step]} is {bits} bits of {list(out.shape)}"
        )
    signed = packed.view(torch.int8)
    for i in range(8 // size):
        run, up = out[:, i * step : (i + 1) * step], 8 - size * (i + 1)
        if up:
            torch.mul(signed, 2**up, out=run)  # modulo 256: a shift, but vectorized
        else:
            torch.bitwise_and(signed, -(2 ** (8 - size)), out=run)
        if 0 < up < 8 - size:
            run.bitwise_and_(-(2 ** (8 - size)))
