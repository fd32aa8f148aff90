"""Pack the integer codes of a weight into the format that is used both in packs and on devices.

Axes: N output channels (rows), K input channels (columns).

Law 1: `unpack(pack(codes, bits), bits, K)` is `codes`, for every code that the width holds, -2^(width - 1) included.
Law 2: A code takes `width(bits)` bits, in two's complement: 2 for 2 bits, 4 for 3 and 4 bits, 8 for 5 to 8 bits.
Law 3: Rows are packed independently, so packed rows may be joined, split and reordered.
Law 4: Byte j of a row of K' bytes holds the columns j + i K', from its low bits up. A row therefore consists of 8/width
    runs of columns. A kernel extracts each run from all bytes by one shift and one mask, without deinterleaving.

The codes that the quantizer makes are symmetric, within `bound(bits)`.
"""

import torch
from torch import Tensor


def width(bits: int) -> int:
    """Return the number of bits that a packed code takes."""
    if not 2 <= bits <= 8:
        raise ValueError(f"codes have {bits} bits; 2 to 8 can be packed")
    return 2 if bits == 2 else 4 if bits <= 4 else 8


def bound(bits: int) -> int:
    """Return the largest code that the quantizer makes. The smallest is its negative."""
    return 2 ** (bits - 1) - 1


def packed_columns(columns: int, bits: int) -> int:
    """Return the number of bytes in a packed row."""
    runs = 8 // width(bits)
    if columns % runs:
        raise ValueError(f"rows have {columns} columns; with {bits} bits it must be a multiple of {runs}")
    return columns // runs


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack codes, int8[N, K], to uint8[N, K width / 8]. Raises ValueError for a code that does not fit into `bits`."""
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
    """Unpack uint8[N, K width / 8] to codes, int8[N, K]."""
    codes = torch.empty(packed.shape[0], columns, dtype=torch.int8, device=packed.device)
    unpack_high(packed, bits, out=codes)
    return codes.bitwise_right_shift_(8 - width(bits))


def unpack_high(packed: Tensor, bits: int, *, out: Tensor) -> None:
    """Write codes times 2^(8 - width) to out: int8[N, K].

    It takes one pass less than `unpack`, and is for kernels that remove the factor from the sum.
    """
    step, size = packed_columns(out.shape[1], bits), width(bits)
    if packed.shape != (out.shape[0], step):
        raise ValueError(
            f"packed codes are {list(packed.shape)}; {[out.shape[0], step]} is {bits} bits of {list(out.shape)}"
        )
    signed = packed.view(torch.int8)
    for i in range(8 // size):
        run, up = out[:, i * step : (i + 1) * step], 8 - size * (i + 1)
        if up:
            torch.mul(signed, 2**up, out=run)  # modulo 256, this is a shift, but vectorized
        else:
            torch.bitwise_and(signed, -(2 ** (8 - size)), out=run)
        if 0 < up < 8 - size:
            run.bitwise_and_(-(2 ** (8 - size)))
