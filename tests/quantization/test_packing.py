import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from pirig.quantization import packing

WIDTHS = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}


def drawn(seed, rows, columns, bits):
    bound = packing.bound(bits)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-bound - 1, bound + 1, (rows, columns), dtype=torch.int8, generator=generator)


@hypothesis.given(st.integers(0, 2**31), st.integers(0, 9), st.integers(1, 40), st.sampled_from(list(WIDTHS)))
def test_what_was_packed_comes_back(seed, rows, runs, bits):
    codes = drawn(seed, rows, 4 * runs, bits)
    packed = packing.pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (rows, 4 * runs * WIDTHS[bits] // 8)
    assert torch.equal(packing.unpack(packed, bits, 4 * runs), codes)


def test_four_bits_lie_in_two_halves():
    """A pack on disk is read by every later version: the layout is fixed."""
    packed = packing.pack(torch.tensor([[1, -1, 7, -8]], dtype=torch.int8), 4)
    assert packed.tolist() == [[0x71, 0x8F]]


def test_two_bits_lie_in_four_quarters():
    packed = packing.pack(torch.tensor([[1, 0, -1, 1, 0, -2, -1, 1]], dtype=torch.int8), 2)
    assert packed.tolist() == [[0b11001101, 0b01100100]]


@pytest.mark.parametrize("bits", WIDTHS)
def test_packed_rows_are_apart(bits):
    codes = drawn(0, 6, 16, bits)
    order = torch.tensor([4, 0, 5, 1, 3, 2])
    assert torch.equal(packing.pack(codes, bits)[order], packing.pack(codes[order], bits))


@pytest.mark.parametrize("bits", WIDTHS)
def test_high_codes_are_the_codes_in_the_upper_bits(bits):
    codes = drawn(1, 5, 24, bits)
    high = torch.empty_like(codes)
    packing.unpack_high(packing.pack(codes, bits), bits, out=high)
    assert torch.equal(high.int(), codes.int() * 2 ** (8 - WIDTHS[bits]))


def test_a_pack_shares_no_memory_with_its_codes():
    codes = drawn(2, 3, 8, 8)
    packed, before = packing.pack(codes, 8), codes.clone()
    codes.zero_()
    assert torch.equal(packing.unpack(packed, 8, 8), before)


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_bits_that_no_code_has_are_refused(bits):
    with pytest.raises(ValueError, match=f"codes have {bits} bits; 2 to 8 can be packed"):
        packing.pack(torch.zeros(1, 8, dtype=torch.int8), bits)


def test_a_code_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="codes go from 0 to 4; 3 bits hold -4 to 3"):
        packing.pack(torch.tensor([[0, 4]], dtype=torch.int8), 3)


def test_columns_that_fill_no_byte_are_refused():
    with pytest.raises(ValueError, match="rows have 6 columns; with 2 bits it must be a multiple of 4"):
        packing.pack(torch.zeros(1, 6, dtype=torch.int8), 2)


def test_packed_codes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"packed codes are \[2, 4\]; \[2, 8\] is 4 bits of \[2, 16\]"):
        packing.unpack(torch.zeros(2, 4, dtype=torch.uint8), 4, 16)
