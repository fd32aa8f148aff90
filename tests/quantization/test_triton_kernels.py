"""The Triton kernels give the bits of the reference: on a GPU where there is one, else in Triton's interpreter.

The interpreter does not round to bfloat16 as a GPU does, so that dtype waits for one.
"""

import importlib
import os
import subprocess
import sys

import pytest
import torch

from pirig.quantization import packing
from pirig.quantization.kernels import Weight, choose, proof, rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
ours = importlib.import_module("pirig.quantization.kernels.triton_kernels")
DTYPES = [torch.float32, torch.float16] + [torch.bfloat16] * (DEVICE == "cuda")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def weight(n, k, bits):
    low = -packing.bound(bits) - 1
    codes = torch.randint(low, -low, (n, k), dtype=torch.int8, generator=generator())
    return Weight(packing.pack(codes, bits), bits, k)


def inputs(m, k):
    return torch.randint(-128, 128, (m, k), dtype=torch.int8, generator=generator(1))


def same_product(m, n, k, bits, tile=None):
    x, w = inputs(m, k), weight(n, k, bits)
    found = ours.multiply(x.to(DEVICE), w.to(DEVICE), torch.int32, shape=tile)
    return torch.equal(found.cpu(), choose("cpu", "exact").product(x, w))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("m", "k"), [(1, 16), (5, 64), (10, 128), (17, 1024), (33, 2048), (2, 4096)])
def test_sums_are_the_references(bits, m, k):
    assert same_product(m, 37, k, bits)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_longest_row_is_summed_exactly(bits):
    assert same_product(3, 16, 16384, bits)


@pytest.mark.parametrize("m", [1, 2, 7, 15, 16, 17, 31, 32, 33])
def test_any_number_of_tokens_is_served(m):
    assert same_product(m, 20, 128, 4)


@pytest.mark.parametrize("tokens", [16, 32])
@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("step", [32, 128])
@pytest.mark.parametrize("split", [1, 2, 3, 8])
def test_no_tile_and_no_split_changes_a_sum(tokens, channels, step, split):
    assert same_product(19, 70, 1000, 4, ours.Tile(tokens, channels, step, split))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("split", [1, 4])
def test_the_greatest_magnitudes_do_not_overflow(bits, split):
    k, low = 16384, -packing.bound(bits) - 1
    w = Weight(packing.pack(torch.full((2, k), low, dtype=torch.int8), bits), bits, k).to(DEVICE)
    x = torch.full((1, k), -128, dtype=torch.int8, device=DEVICE)
    found = ours.multiply(x, w, torch.int32, shape=ours.Tile(16, 16, 512, split))
    assert found.tolist() == [[-128 * low * k] * 2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("split", [1, 2])
def test_scaling_is_the_references(dtype, with_bias, split):
    x, w = inputs(9, 256), weight(300, 256, 4)
    sx, sw = torch.rand(9, generator=generator(2)) / 99, torch.rand(300, generator=generator(3))
    bias = torch.randn(300, generator=generator(4)) if with_bias else None
    expected = choose("cpu", "exact").linear(x, sx, w, sw, bias, dtype)
    there = [None if t is None else t.to(DEVICE) for t in (sx, sw, bias)]
    tile = ours.Tile(16, 64, 64, split)
    assert torch.equal(ours.multiply(x.to(DEVICE), w.to(DEVICE), dtype, *there, shape=tile).cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    ("m", "k", "block"),
    [(33, 16, 16), (10, 64, 64), (2, 1152, 128), (3, 2048, 128), (1, 16384, 128), (2, 4304, 16), (4, 36, 1)],
)
def test_rows_are_quantized_to_the_same_bits(dtype, bits, m, k, block):
    x = (torch.randn(m, k, generator=generator(5)) * 30).to(dtype)
    x[-1] = 0
    vec, order = torch.randn(k, generator=generator(6)), torch.randperm(k, generator=generator(7))
    for given in ((vec, order), (None, order), (vec, None), (None, None)):
        there = [None if t is None else t.to(DEVICE) for t in given]
        codes, scale = ours.Triton().quantize_rows(x.to(DEVICE), *there, block, bits)
        expected = rows.quantize_rows(x, *given, block, bits)
        assert torch.equal(codes.cpu(), expected[0])
        assert torch.equal(scale.cpu(), expected[1])


def test_rows_may_lie_apart():
    x = torch.randn(4, 192, generator=generator(8))[:, :64]
    codes, scale = ours.Triton().quantize_rows(x.to(DEVICE), None, None, 64, 8)
    expected = rows.quantize_rows(x, None, None, 64, 8)
    assert torch.equal(codes.cpu(), expected[0])
    assert torch.equal(scale.cpu(), expected[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter's NumPy
def test_what_is_not_finite_stays_visible(bad):
    x = torch.ones(3, 64)
    x[1, 5] = bad
    _, scale = ours.Triton().quantize_rows(x.to(DEVICE), None, None, 1, 8)
    assert scale.isfinite().tolist() == [True, False, True]


def test_the_kernel_passes_the_proof_that_it_must_pass_on_a_gpu():
    assert proof.fault(ours.Triton(), DEVICE) == ""


@pytest.mark.parametrize("m", [1, 10, 50, 532, 4096])
@pytest.mark.parametrize(("n", "k"), [(2560, 2048), (32768, 2048), (2048, 16384), (1024, 2048), (64, 64), (37, 16)])
def test_a_tile_is_what_triton_can_make(m, n, k):
    tile = ours.tile(m, n, k // 2)
    assert all(size & (size - 1) == 0 for size in (tile.tokens, tile.channels, tile.bytes))
    assert tile.tokens >= 16
    assert tile.channels >= 16
    assert tile.bytes >= 32
    assert 1 <= tile.split <= 8


COMPILE = """
import re, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pirig.quantization.kernels import triton_kernels as ours

def ptx(kernel, arch, types, constants, **options):
    signature = types | dict.fromkeys(constants, "constexpr")
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(len(types))}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options={"enable_fp_fusion": False} | options)
    assert built.asm["cubin"]
    return built.asm["ptx"]

FUSED = re.compile(r"fma\\.rn\\.f|\\.ftz|div\\.full|div\\.approx")
SUMS = dict(codes="*i8", packed="*u8", sx="*fp32", sw="*fp32", bias="*fp32", y="*bf16")
ROWS = dict(x="*bf16", vec="*fp32", order="*i64", codes="*i8", scales="*fp32", stride="i32", k="i32")
for arch, mma in ((80, "mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32"), (90, "wgmma.mma_async")):
    for m, n, k in ((10, 2560, 1024), (532, 32768, 2048)):
        tile = ours.tile(m, n, k // 2)
        assert tile.split == 1
        constants = dict(SCALED=True, BIAS=True, WIDTH=4, TOKENS=tile.tokens, CHANNELS=tile.channels)
        constants |= dict(BYTES=tile.bytes, SPLIT=1, WHOLE=True)
        types = SUMS | dict.fromkeys(("m", "n", "k", "row"), "i32")
        text = ptx(ours._multiply, arch, types, constants, num_warps=tile.warps, num_stages=tile.stages)
        assert mma in text and "cvt.rn.bf16" in text and not FUSED.search(text), (arch, m)
    for wide in (2048, 16384):
        constants = dict(VEC=True, ORDER=True, WIDE=wide, BLOCK=128, STAGES=7, BOUND=127.0, NORM=128**-0.5)
        text = ptx(ours._quantize_rows, arch, ROWS, constants, num_warps=4)
        assert "div.rn.f32" in text and not FUSED.search(text), (arch, wide)
"""


def test_compiled_for_a_gpu_nothing_is_fused_or_approximated():
    """For Ampere and Hopper, which takes no GPU: int8 tensor cores, IEEE division, no multiply-add of floats."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    found = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
