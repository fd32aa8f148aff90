"""How long one linear layer takes: by kernel, shape and number of tokens, beside PyTorch's own in floats.

    python benchmarks/quantization_kernels.py
    python benchmarks/quantization_kernels.py --tokens 1 10 --layers expert-qkv --kernels int_mm
    python benchmarks/quantization_kernels.py --device cuda --tiles

Shapes are those of π0.5 at full size, with layers side by side that share an input; weights have 4 bits, inputs 8. A
model meets each weight once, so calls go round copies that no cache holds. Sums are compared with int64's before they
are timed. Prints a table and writes JSON.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pirig.errors import ConfigError
from pirig.machine import resources
from pirig.quantization import packing
from pirig.quantization.kernels import NAMES, Kernel, Weight, choose

LAYERS = {  # N, K
    "llm-qkv": (2560, 2048),
    "llm-o": (2048, 2048),
    "llm-gate-up": (32768, 2048),
    "llm-down": (2048, 16384),
    "expert-qkv": (2560, 1024),
    "expert-o": (1024, 2048),
    "expert-gate-up": (8192, 1024),
    "expert-down": (1024, 4096),
}
_BEYOND_CACHES = 128 * 2**20  # [byte]
_BLOCK = 128


@dataclasses.dataclass(frozen=True)
class Args:
    device: str = ""
    """cpu, cuda; default: the GPU where there is one"""
    layers: tuple[str, ...] = tuple(LAYERS)
    tokens: tuple[int, ...] = (1, 10, 50, 532)
    kernels: tuple[str, ...] = tuple(name for name in NAMES if name != "auto")
    bits: int = 4
    rounds: int = 20
    tiles: bool = False
    """also try other tiles of the Triton kernel, and keep the fastest"""
    output: pathlib.Path | None = None
    """JSON file; default: benchmarks/results/quantization_kernels-DEVICE.json"""


@dataclasses.dataclass
class Case:
    layer: str
    tokens: int
    what: str  # linear, rows; or the dtype of floats
    kernel: str
    ms: float
    least_ms: float
    detail: str = ""


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    device = flags.device or ("cuda" if torch.cuda.is_available() else "cpu")
    kernels, reasons = available(flags.kernels, device)
    cases: list[Case] = []
    for layer in flags.layers:
        n, k = LAYERS[layer]
        cases += floats(layer, n, k, flags, device)
        cases += integers(layer, n, k, kernels, flags, device)
    show(cases, flags, device)
    for name, reason in reasons.items():
        print(f"not measured: {name}: {reason}")
    save(cases, reasons, flags, device)


def available(names: tuple[str, ...], device: str) -> tuple[list[Kernel], dict[str, str]]:
    """Kernels that run on this device, and why the others do not."""
    kernels, reasons = [], {}
    for name in names:
        try:
            kernels.append(choose(device, name))
        except ConfigError as e:
            reasons[name] = str(e)
    return kernels, reasons


def floats(layer: str, n: int, k: int, flags: Args, device: str) -> list[Case]:
    cases = []
    for dtype in (torch.bfloat16, torch.float32):
        weights = copies(torch.randn(n, k, device=device).to(dtype))
        for m in flags.tokens:
            x = torch.randn(m, k, device=device).to(dtype)
            calls = [functools.partial(F.linear, x, w) for w in weights]
            cases.append(Case(layer, m, str(dtype).removeprefix("torch."), "PyTorch", *timed(calls, flags, device)))
    return cases


def integers(layer: str, n: int, k: int, kernels: list[Kernel], flags: Args, device: str) -> list[Case]:
    cases, bound = [], packing.bound(flags.bits)
    codes = torch.randint(-bound, bound + 1, (n, k), dtype=torch.int8)
    weights = [Weight(p, flags.bits, k) for p in copies(packing.pack(codes, flags.bits).to(device))]
    sw, vec, order = torch.rand(n).to(device), torch.rand(k).to(device), torch.randperm(k).to(device)
    for m in flags.tokens:
        x = torch.randn(m, k).to(device, torch.bfloat16)
        for kernel in kernels:
            a, sx = kernel.quantize_rows(x, vec, order, _BLOCK, 8)
            assert torch.equal(kernel.product(a[:4], weights[0]).cpu().long(), a[:4].cpu().long() @ codes.long().T)
            calls = [functools.partial(kernel.linear, a, sx, w, sw, None, torch.bfloat16) for w in weights]
            cases.append(Case(layer, m, "linear", kernel.name, *timed(calls, flags, device)))
            calls = [functools.partial(kernel.quantize_rows, x, vec, order, _BLOCK, 8)]
            cases.append(Case(layer, m, "rows", kernel.name, *timed(calls, flags, device)))
            if flags.tiles and kernel.name == "triton":
                cases.append(fastest_tile(layer, a, sx, weights, sw, flags, device))
    return cases


def fastest_tile(
    layer: str, a: Tensor, sx: Tensor, weights: list[Weight], sw: Tensor, flags: Args, device: str
) -> Case:
    from triton import next_power_of_2
    from triton.runtime.errors import OutOfResources

    from pirig.quantization.kernels.triton_kernels import Tile, multiply

    m, row = len(a), weights[0].packed.shape[1]
    fitting = max(16, next_power_of_2(m))
    found: list[Case] = []
    sizes = ((16, 32, 64, 128, 256), (32, 64, 128, 256), (32, 64, 128), (1, 2, 4, 8), (4, 8), (3, 4))
    for tokens, channels, step, split, warps, stages in itertools.product(*sizes):
        if tokens > fitting or (tokens < 64 and tokens < fitting) or step * split > row or tokens * channels > 2**15:
            continue
        tile = Tile(tokens, channels, step, split, warps, stages)
        calls = [functools.partial(multiply, a, w, torch.bfloat16, sx, sw, shape=tile) for w in weights]
        try:
            found.append(Case(layer, m, "linear", "triton, best tile", *timed(calls, flags, device), detail=str(tile)))
        except OutOfResources:
            continue  # more shared memory than this GPU has
    return min(found, key=lambda case: case.ms)


def copies(x: Tensor) -> list[Tensor]:
    """Enough of them that no cache holds all."""
    return [x, *(x.clone() for _ in range(_BEYOND_CACHES // (x.numel() * x.element_size())))]


def timed(calls: Sequence[Callable[[], object]], flags: Args, device: str) -> tuple[float, float]:
    """Median and least time of a call [ms]. On a GPU in a CUDA graph of all calls, so that no launch is waited for."""
    if device != "cpu":
        return _timed_on_gpu(calls, flags.rounds)
    calls[0]()
    took = []
    for call in itertools.islice(itertools.cycle(calls[1:] or calls), flags.rounds):
        start = time.perf_counter()
        call()
        took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(took), min(took)


def _timed_on_gpu(calls: Sequence[Callable[[], object]], rounds: int) -> tuple[float, float]:
    calls[0]()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    took = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        took.append(start.elapsed_time(end) / len(calls))
    return statistics.median(took[1:]), min(took[1:])


def show(cases: list[Case], flags: Args, device: str) -> None:
    title = f"one layer, times in ms, on {name_of(device)}, {flags.bits} bits times 8"
    table = Table(title=title, title_justify="left", caption="rows: to rotate and quantize the input")
    columns = list(dict.fromkeys((case.kernel, case.what) for case in cases))
    for column in ("layer", "N, K", "tokens", *(f"{kernel} {what}" for kernel, what in columns)):
        table.add_column(column, justify="right")
    for layer, m in dict.fromkeys((case.layer, case.tokens) for case in cases):
        own = {(case.kernel, case.what): f"{case.ms:.3f}" for case in cases if (case.layer, case.tokens) == (layer, m)}
        table.add_row(layer, "{}, {}".format(*LAYERS[layer]), str(m), *(own.get(column, "") for column in columns))
    Console(width=160).print(table)


def save(cases: list[Case], reasons: dict[str, str], flags: Args, device: str) -> None:
    words = "".join(c if c.isalnum() else "-" for c in (device if device == "cpu" else name_of(device)).lower())
    file = flags.output or pathlib.Path(__file__).parent / f"results/quantization_kernels-{words}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "benchmark": "quantization_kernels",
        "device": name_of(device),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "triton") if _installed(name)},
        "bits": flags.bits,
        "rounds": flags.rounds,
        "shapes": LAYERS,
        "not_measured": reasons,
        "cases": [dataclasses.asdict(case) for case in cases],
    }
    file.write_text(json.dumps(about, indent=1) + "\n")
    print(f"written to {file}")


def name_of(device: str) -> str:
    if device != "cpu":
        return torch.cuda.get_device_name()
    return resources.processor()


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
