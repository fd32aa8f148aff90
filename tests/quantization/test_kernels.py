"""The exactness contract, on the CPU, over all shapes of the full-size model; test_triton_kernels.py has CUDA's."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from pirig.errors import ConfigError
from pirig.quantization import packing
from pirig.quantization.kernels import NAMES, Weight, choose, proof, rows
from pirig.quantization.kernels.int_mm import IntMM

SHAPES = [  # N, K of π0.5: language model, action expert, image encoder; side by side where they share an input
    (2560, 2048), (2048, 2048), (32768, 2048), (2048, 16384),
    (2560, 1024), (1024, 2048), (8192, 1024), (1024, 4096),
    (3456, 1152), (4304, 1152), (1152, 4304),
]  # fmt: skip
CPU = ["exact", pytest.param("int_mm", marks=pytest.mark.skipif(bool(proof.fault(IntMM(), "cpu")), reason="not exact"))]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def weight(n, k, bits, seed=0):
    low = -packing.bound(bits) - 1
    codes = torch.randint(low, -low, (n, k), dtype=torch.int8, generator=generator(seed))
    return codes, Weight(packing.pack(codes, bits), bits, k)


def inputs(m, k, seed=1):
    return torch.randint(-128, 128, (m, k), dtype=torch.int8, generator=generator(seed))


def scales(m, n):
    return torch.rand(m, generator=generator(2)) + 0.1, torch.rand(n, generator=generator(3)) + 0.1


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_sums_are_those_of_int64(name, n, k):
    """float64 holds them exactly, and is faster than int64 here."""
    codes, packed = weight(n, k, 4)
    x = inputs(3, k)
    assert torch.equal(choose("cpu", name).product(x, packed).double(), x.double() @ codes.double().T)


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("m", "k"), [(1, 16384), (10, 2048), (65, 4304), (130, 64)])
def test_sums_are_those_of_int64_with_any_bits(name, bits, m, k):
    codes, packed = weight(37, k, bits)
    x = inputs(m, k)
    found = choose("cpu", name).product(x, packed)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), x.long() @ codes.long().T)


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("a", [127, -127, -128])
@pytest.mark.parametrize("m", [1, 17, 70])
def test_the_greatest_magnitudes_do_not_saturate(name, bits, a, m):
    """|sum| is 2^28 with 8 bits, and 2^24 with 4."""
    k, b = 16384, packing.bound(bits)
    w = torch.tensor([b, -b, -b - 1], dtype=torch.int8)[:, None].expand(3, k)
    found = choose("cpu", name).product(torch.full((m, k), a, dtype=torch.int8), Weight(packing.pack(w, bits), bits, k))
    assert found.tolist() == [[k * a * b, -k * a * b, -k * a * (b + 1)]] * m


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_the_reference_is_exact_at_any_precision_of_float32_products(precision):
    """Someone else's setting lets PyTorch round inputs to bfloat16, which holds these integers."""
    codes, packed = weight(64, 2048, 4)
    x, before = inputs(40, 2048), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = choose("cpu", "exact").product(x, packed)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found.long(), x.long() @ codes.long().T)


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_scaling_is_in_float32_and_in_one_order(name, dtype, with_bias):
    codes, packed = weight(70, 2048, 8)
    x, (sx, sw) = inputs(9, 2048), scales(9, 70)
    bias = torch.randn(70, generator=generator(4)) if with_bias else None
    sums = (x.long() @ codes.long().T).float()
    expected = sums * sx[:, None] * sw
    expected = expected if bias is None else expected + bias
    assert torch.equal(choose("cpu", name).linear(x, sx, packed, sw, bias, dtype), expected.to(dtype))


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("m", [2, 37, 65])
def test_a_row_of_a_product_does_not_depend_on_the_batch(name, m):
    _, packed = weight(300, 2048, 4)
    x, (sx, sw) = inputs(m, 2048), scales(m, 300)
    kernel = choose("cpu", name)
    together = kernel.linear(x, sx, packed, sw, sw, torch.bfloat16)
    for i in (0, m // 2, m - 1):
        row = slice(i, i + 1)
        assert torch.equal(kernel.linear(x[row], sx[row], packed, sw, sw, torch.bfloat16), together[row])


def test_no_rows_make_no_rows():
    _, packed = weight(40, 64, 4)
    assert choose("cpu").product(inputs(0, 64), packed).shape == (0, 40)


def test_codes_of_another_width_are_refused():
    _, packed = weight(40, 64, 4)
    with pytest.raises(ValueError, match=r"codes are torch.int8\[2, 32\] on cpu; .*64.* was expected"):
        choose("cpu").product(inputs(2, 32), packed)


def test_a_weight_must_have_the_bytes_that_its_columns_take():
    with pytest.raises(ValueError, match="4 bits of 64 columns"):
        Weight(torch.zeros(8, 64, dtype=torch.uint8), 4, 64)


def hadamard(block):
    """Sylvester's, in float64."""
    h = torch.ones(1, 1, dtype=torch.float64)
    while len(h) < block:
        h = torch.cat([torch.cat([h, h], dim=1), torch.cat([h, -h], dim=1)])
    return h


def plain(x, vec, order, block, bits):
    """`quantize_rows` in its docstring's words."""
    y = x.float() if order is None else x.float()[:, order]
    y = y if vec is None else y * vec
    half = 1
    while half < block:
        a, b = y.view(len(y), -1, 2, half).unbind(2)
        y, half = torch.stack([a + b, a - b], dim=2).view(len(y), -1), 2 * half
    largest, bound = y.abs().amax(dim=1), 2 ** (bits - 1) - 1
    scale = torch.where(largest == 0, torch.ones_like(largest), largest / bound)
    codes = (y / scale[:, None]).round().clamp(-bound, bound)
    return codes.to(torch.int8), scale * block**-0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    ("m", "k", "block"), [(1, 2048, 128), (10, 16384, 128), (50, 64, 64), (600, 4304, 16), (3, 36, 1)]
)
def test_rows_are_quantized_as_the_definition_says(dtype, bits, m, k, block):
    x = (torch.randn(m, k, generator=generator(5)) * 30).to(dtype)
    vec, order = torch.randn(k, generator=generator(6)), torch.randperm(k, generator=generator(7))
    for given in ((vec, order), (None, order), (vec, None), (None, None)):
        codes, scale = rows.quantize_rows(x, *given, block, bits)
        expected = plain(x, *given, block, bits)
        assert torch.equal(codes, expected[0])
        assert torch.equal(scale, expected[1])


def test_rows_times_their_scales_are_the_rotated_rows():
    x = torch.randn(20, 512, generator=generator(8), dtype=torch.float64)
    rotated = (x.view(20, 4, 128) @ hadamard(128) / 128**0.5).view(20, 512)
    codes, scale = rows.quantize_rows(x, None, None, 128, 8)
    assert (codes * scale[:, None] - rotated).abs().max() <= 0.5001 * scale.max()
    assert (rows.rotate(x, 128) - rotated).abs().max() < 1e-14


def test_a_rotation_undoes_itself():
    x = torch.randn(5, 96, generator=generator(9), dtype=torch.float64)
    assert (rows.rotate(rows.rotate(x, 32), 32) - x).abs().max() < 1e-14


@pytest.mark.parametrize("m", [2, 37, 1100])
def test_a_quantized_row_does_not_depend_on_the_batch(m):
    x = torch.randn(m, 1024, generator=generator(10)).bfloat16()
    vec, order = torch.randn(1024, generator=generator(11)), torch.randperm(1024, generator=generator(12))
    codes, scale = rows.quantize_rows(x, vec, order, 128, 8)
    for i in (0, m // 2, m - 1):
        own_codes, own_scale = rows.quantize_rows(x[i : i + 1], vec, order, 128, 8)
        assert torch.equal(own_codes[0], codes[i])
        assert torch.equal(own_scale[0], scale[i])


def test_the_greatest_value_gets_the_greatest_code():
    x = torch.tensor([[1.0, -3.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [5e-40, 0.0, -5e-40, 0.0]])
    codes, scale = rows.quantize_rows(x, None, None, 1, 8)
    assert codes.tolist() == [[42, -127, 85, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert scale.tolist() == [(torch.tensor(3.0) / 127).item(), 1, 1]


def test_halves_are_rounded_to_even():
    codes, _ = rows.quantize_rows(torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 127]]), None, None, 1, 8)
    assert codes.tolist() == [[0, 2, 2, 0, -2, 127]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(bad):
    x = torch.ones(3, 64)
    x[1, 5] = bad
    _, packed = weight(8, 64, 4)
    kernel = choose("cpu")
    codes, sx = kernel.quantize_rows(x, None, None, 32, 8)
    y = kernel.linear(codes, sx, packed, torch.ones(8), None, torch.float32)
    assert not y[1].isfinite().any()
    assert y[[0, 2]].isfinite().all()


@pytest.mark.parametrize("block", [0, 3, 48, 128])
def test_blocks_that_cannot_be_rotated_are_refused(block):
    with pytest.raises(ValueError, match=f"blocks have {block} columns; needed is a power of two that divides 96"):
        rows.quantize_rows(torch.ones(1, 96), None, None, block, 8)


def test_an_unknown_kernel_is_an_error_that_names_the_known():
    with pytest.raises(ConfigError, match=f"unknown kernel 'cutlass'; there are: {', '.join(NAMES)}"):
        choose("cpu", "cutlass")


def test_a_kernel_of_another_device_is_an_error():
    with pytest.raises(ConfigError, match="kernel triton cannot run on cpu: .*; choose auto or int_mm or exact"):
        choose("cpu", "triton")


def test_a_device_that_no_kernel_knows_is_an_error():
    with pytest.raises(ConfigError, match="no kernel multiplies integers on meta; they run on cpu, cuda"):
        choose("meta")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match="PyTorch finds no such device"):
        choose("cuda")


def test_the_choice_is_one_of_the_kernels_and_stays():
    assert choose("cpu").name in ("int_mm", "exact")
    assert choose("cpu") is choose(torch.device("cpu"))
    assert choose("cpu", "exact").name == "exact"


def test_a_kernel_that_is_not_exact_is_found_out():
    class Saturating(IntMM):
        def sums(self, codes, weight):
            for some, sums in super().sums(codes, weight):
                yield some, sums.clamp(-(2**24), 2**24)

    assert "its sums are not exact here: " in proof.fault(Saturating(), "cpu")


def test_a_kernel_that_does_not_start_is_found_out():
    class Broken(IntMM):
        def sums(self, codes, weight):
            raise OSError("no C compiler")

    assert proof.fault(Broken(), "cpu") == "OSError: no C compiler"


def test_a_kernel_that_rounds_otherwise_is_found_out():
    class Fused(IntMM):
        def quantize_rows(self, x, vec, order, block, bits):
            codes, scale = super().quantize_rows(x, vec, order, block, bits)
            return codes, scale.nextafter(torch.tensor(0.0))

    assert proof.fault(Fused(), "cpu") == "its quantization of rows gives other bits here"


def test_a_processor_without_vnni_gets_the_reference_and_a_warning():
    """oneDNN saturates there, if it makes the product at all; elsewhere this test sees a kernel that is exact."""
    code = "from pirig.quantization.kernels import choose; print(choose('cpu').name)"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    warned = (
        "kernel exact is used in place of a faster one: int_mm cannot run on cpu: its sums are not exact"
        in found.stderr
    )
    assert (found.stdout, warned) in (("exact\n", True), ("int_mm\n", False))


def test_a_fallback_is_loud(monkeypatch, caplog):
    from pirig.quantization import kernels

    monkeypatch.setitem(kernels._MAKERS, "int_mm", lambda device: "it saturates")
    with caplog.at_level(logging.WARNING):
        assert choose("cpu").name == "exact"
    assert "kernel exact is used in place of a faster one: int_mm cannot run on cpu: it saturates" in caplog.text
