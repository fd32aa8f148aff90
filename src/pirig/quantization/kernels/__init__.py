"""Multiply integer codes on CPU and CUDA, behind one interface. The entry point is `choose`.

There is no fallback to float: if no kernel can run, that is an error.
"""

import functools
import logging
from collections.abc import Callable

import torch

from pirig.errors import ConfigError, UnusableResource
from pirig.quantization.kernels import proof
from pirig.quantization.kernels.exact import Exact
from pirig.quantization.kernels.int_mm import IntMM
from pirig.quantization.kernels.kernel import Kernel, Weight
from pirig.text import unknown

__all__ = ["NAMES", "Kernel", "Weight", "choose"]

_log = logging.getLogger(__name__)


@functools.cache
def _exact(device: torch.device) -> Kernel | str:
    return Exact() if device.type == "cpu" else "it is the CPU's reference"


@functools.cache
def _int_mm(device: torch.device) -> Kernel | str:
    return proof.fault(IntMM(), device) or IntMM()


@functools.cache
def _triton(device: torch.device) -> Kernel | str:
    if device.type != "cuda":
        return "Triton compiles for GPUs"
    try:
        from pirig.quantization.kernels.triton_kernels import Triton
    except ImportError as e:
        return f"{e}; CUDA builds of PyTorch bring Triton along"
    return proof.fault(Triton(), device) or Triton()


_MAKERS: dict[str, Callable[[torch.device], Kernel | str]] = {"exact": _exact, "int_mm": _int_mm, "triton": _triton}
"""Functions that make a kernel for a device, or return the reason why it cannot run there."""
_PREFERRED = {"cpu": ("int_mm", "exact"), "cuda": ("triton", "int_mm")}
NAMES = ("auto", *_MAKERS)


def choose(device: torch.device | str, name: str = "auto") -> Kernel:
    """Return the kernel with this name; `auto`: the fastest that runs on this device.

    With `auto`, a warning is logged if this is not the device's first choice. Raises ConfigError if the kernel cannot
    run.
    """
    device = torch.device(device)
    kind = device.type
    if name not in NAMES:
        raise ConfigError(unknown("kernel", name, NAMES))
    if kind not in _PREFERRED:
        raise UnusableResource(f"no kernel multiplies integers on {kind}; they run on {', '.join(_PREFERRED)}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UnusableResource("kernels are asked for on cuda, and PyTorch finds no such device; run on the CPU")
    if name != "auto":
        made = _MAKERS[name](device)
        if isinstance(made, Kernel):
            return made
        others = " or ".join(other for other in ("auto", *_PREFERRED[kind]) if other != name)
        raise UnusableResource(f"kernel {name} cannot run on {kind}: {made}; choose {others}")
    reasons: list[str] = []
    for other in _PREFERRED[kind]:
        made = _MAKERS[other](device)
        if isinstance(made, Kernel):
            if reasons:
                _log.warning("kernel %s is used in place of a faster one: %s", made.name, "; ".join(reasons))
            return made
        reasons.append(f"{other} cannot run on {kind}: {made}")
    raise UnusableResource("no kernel can run: " + "; ".join(reasons))
