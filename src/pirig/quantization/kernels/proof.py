"""Verify a kernel on a device before it is used, on the hardest inputs: largest magnitudes, ragged shapes.

The expected results are computed on the CPU: integers with int64, floats by their definitions.
"""

import torch
from torch import Tensor

from pirig.quantization import packing
from pirig.quantization.kernels import rows
from pirig.quantization.kernels.kernel import Kernel, Weight

_SHAPES = ((1, 64, 256), (2, 40, 4096), (33, 33, 1024), (130, 64, 512))  # M, N, K: one for each code path of a kernel


def fault(kernel: Kernel, device: torch.device | str) -> str:
    """Return the reason why `kernel` cannot be used on a device, or an empty string if it can."""
    try:
        return _products(kernel, device) or _rows(kernel, device)
    except Exception as e:  # a compiler may raise anything; the caller decides and reports the reason
        return f"{type(e).__name__}: {e}"


def _products(kernel: Kernel, device: torch.device | str) -> str:
    generator = torch.Generator().manual_seed(0)
    for m, n, k in _SHAPES:
        for bits in (4, 8):
            low = -packing.bound(bits) - 1
            drawn = torch.randint(low, -low, (n, k), dtype=torch.int8, generator=generator)
            for a, w in ((127, torch.full_like(drawn, low)), (-128, torch.full_like(drawn, low)), (-127, drawn)):
                codes = torch.full((m, k), a, dtype=torch.int8)
                weight = Weight(packing.pack(w, bits), bits, k).to(device)
                found, expected = kernel.product(codes.to(device), weight), codes.long() @ w.long().T
                if not torch.equal(found.cpu().long(), expected):
                    return f"its sums are not exact here: {int(found[0, 0])} in place of {int(expected[0, 0])}"
                scales = torch.rand(m, generator=generator), torch.rand(n, generator=generator)
                sx, sw = (scale.to(device) for scale in scales)
                y = kernel.linear(codes.to(device), sx, weight, sw, sw, torch.float32)
                if not torch.equal(y.cpu(), expected.float() * scales[0][:, None] * scales[1] + scales[1]):
                    return "its scaling is rounded in another way here"
    return ""


def _rows(kernel: Kernel, device: torch.device | str) -> str:
    generator = torch.Generator().manual_seed(0)
    x, vec = torch.randn(5, 384, generator=generator), torch.rand(384, generator=generator)
    order = torch.randperm(384, generator=generator)
    given: list[Tensor] = [t.to(device) for t in (x, vec, order)]
    found, expected = kernel.quantize_rows(*given, 128, 8), rows.quantize_rows(x, vec, order, 128, 8)
    same = all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(found, expected, strict=True))
    return "" if same else "its quantization of rows gives other bits here"
