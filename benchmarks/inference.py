"""How long one inference takes: by backend, dtype, trimming, batch and device.

    python benchmarks/inference.py --recipe pi05_libero_tiny
    python benchmarks/inference.py --recipe pi05_libero --backends torch --rounds 5
    python benchmarks/inference.py --recipe pi05_libero --batches 1 2 4 8 16 --parts

Weights are random: time does not depend on them. All cases of one backend and dtype share one model in memory and take
turns, so that their ratios hold on a busy machine too. Prints a table and writes JSON.
"""

import dataclasses
import gc
import importlib.metadata
import json
import math
import pathlib
import platform
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import ml_dtypes
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from pirig.machine import resources
from pirig.models.config import CAMERA_SLOTS, ModelConfig
from pirig.models.sampling import Batch
from pirig.models.weight_table import jax_shapes
from pirig.policies.backends import Backend, Shapes
from pirig.policies.backends import sample as sample_in_shapes
from pirig.policies.recipes import recipe

_DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}
_PROMPT_TOKENS = 16  # of LIBERO's prompts, 10 to 25


@dataclasses.dataclass(frozen=True)
class Args:
    recipe: str = "pi05_libero_tiny"
    backends: tuple[Literal["jax", "torch"], ...] = ("jax", "torch")
    dtypes: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16",)
    trims: tuple[bool, ...] = (True, False)
    """True: what pirig computes; False: all that the reference computes"""
    batches: tuple[int, ...] = (1,)
    device: str = ""
    """cpu, cuda; default: the first accelerator, else the CPU"""
    rounds: int = 10
    compile: bool = False
    """torch only: through torch.compile"""
    parts: bool = False
    """also time vision, prefix and denoising apart"""
    output: pathlib.Path | None = None
    """JSON file; default: benchmarks/results/inference-RECIPE-DEVICE-BACKENDS.json"""


class RandomTree(Mapping[str, np.ndarray]):
    """A JAX tree of a model, made array by array: one block of noise, repeated and scaled."""

    def __init__(self, config: ModelConfig, dtype: np.dtype):
        self.shapes, self._dtype = jax_shapes(config), dtype
        self._block = np.random.default_rng(0).standard_normal(1 << 16, np.float32)

    def __getitem__(self, path: str) -> np.ndarray:
        shape = self.shapes[path]
        scale = 0.02 if path.endswith(("bias", "scale")) else (shape[-2] if len(shape) > 1 else 1) ** -0.5
        return np.resize((self._block * np.float32(scale)).astype(self._dtype), shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@dataclasses.dataclass
class Case:
    backend: str
    dtype: str
    trim: bool
    batch: int
    seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    config = recipe(flags.recipe).model
    cases: list[Case] = []
    models: list[dict[str, Any]] = []
    device = ""
    for name in flags.backends:
        for dtype in flags.dtypes:
            start = time.perf_counter()
            backend = load(name, dtype, config, flags)
            model = {"backend": name, "dtype": dtype, "load_s": time.perf_counter() - start}
            own = [Case(name, dtype, trim, batch) for batch in flags.batches for trim in flags.trims]
            measure(backend, config, own, flags.rounds)
            device = backend.device
            if flags.parts:
                model["parts_ms"] = parts(backend, config, flags.rounds)
            models.append(model | memory(backend))
            cases += own
            del backend
            gc.collect()
    show(flags.recipe, device, cases, models)
    save(flags, device, cases, models)


def load(name: str, dtype: str, config: ModelConfig, flags: Args) -> Backend:
    arrays = RandomTree(config, _DTYPES[dtype])
    if name == "jax":
        from pirig.policies.backend_jax import JaxBackend

        return JaxBackend(arrays, config, device=flags.device or None)
    from pirig.policies.backend_torch import TorchBackend

    return TorchBackend(arrays, config, dtype=dtype, device=flags.device or None, compile=flags.compile)


def measure(backend: Backend, config: ModelConfig, cases: list[Case], rounds: int) -> None:
    """Host to host: NumPy in, NumPy out. The first round of each case compiles, and is not counted."""
    for round_ in range(rounds + 1):
        for case in cases:
            shapes = Shapes(config, max_batch=case.batch, trim=case.trim)
            given = batch(config, case.batch)
            start = time.perf_counter()
            actions = sample_in_shapes(backend, shapes, given)
            if round_:
                case.seconds.append(time.perf_counter() - start)
            assert np.isfinite(actions).all()


def batch(config: ModelConfig, size: int) -> Batch:
    """As LIBERO's: two cameras, a short prompt."""
    rng = np.random.default_rng(0)
    side = config.vision.image
    return Batch(
        images=rng.integers(0, 256, (size, CAMERA_SLOTS, side, side, 3), np.uint8),
        cameras=np.tile([True, True, False], (size, 1)),
        tokens=rng.integers(0, config.vocabulary, (size, config.max_tokens), np.int32),
        words=np.tile(np.arange(config.max_tokens) < _PROMPT_TOKENS, (size, 1)),
        state=rng.standard_normal((size, config.action_size), np.float32),
        noise=rng.standard_normal((size, config.action_horizon, config.action_size), np.float32),
    )


def parts(backend: Backend, config: ModelConfig, rounds: int) -> dict[str, float]:
    """Median time of each part [ms], batch 1, trimmed. Each ends with a wait for the device."""
    given = next(part for _, part in Shapes(config).groups(batch(config, 1)))
    found: dict[str, list[float]] = {}
    for round_ in range(rounds + 1):
        for name, run in backend.parts(given):
            start = time.perf_counter()
            run()
            if round_:
                found.setdefault(name, []).append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(times), 2) for name, times in found.items()}


def memory(backend: Backend) -> dict[str, float]:
    """Peak on the device [GiB], and of this process so far."""
    import resource

    found = {"process_peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if backend.device != "cpu" and backend.name == "torch":
        import torch

        found["device_peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    elif backend.device != "cpu":
        import jax

        found["device_peak_gib"] = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", math.nan) / 2**30
    return found


def show(name: str, device: str, cases: list[Case], models: list[dict[str, Any]]) -> None:
    table = Table(title=f"{name} on {device or platform.processor()}", title_justify="left")
    for column in ("backend", "dtype", "trimmed", "batch", "median ms", "min ms", "per second", "untrimmed : trimmed"):
        table.add_column(column, justify="right")
    for case in cases:
        other = next((c for c in cases if dataclasses.replace(c, seconds=[]) == _untrimmed(case)), None)
        ratio = f"{other.median_s / case.median_s:.2f}" if case.trim and other else ""
        table.add_row(
            case.backend,
            case.dtype,
            "yes" if case.trim else "no",
            str(case.batch),
            f"{1e3 * case.median_s:.1f}",
            f"{1e3 * min(case.seconds):.1f}",
            f"{case.batch / case.median_s:.2f}",
            ratio,
        )
    Console(width=120).print(table)
    for model in models:
        facts = (f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in model.items())
        print(", ".join(facts))


def _untrimmed(case: Case) -> Case:
    return dataclasses.replace(case, trim=False, seconds=[])


def save(flags: Args, device: str, cases: list[Case], models: list[dict[str, Any]]) -> None:
    words = "-".join([flags.recipe, "".join(c if c.isalnum() else "-" for c in device.lower()), *flags.backends])
    file = flags.output or pathlib.Path(__file__).parent / f"results/inference-{words}.json"
    document = {
        "recipe": flags.recipe,
        "device": device,
        "machine": resources.describe(),
        "versions": {n: importlib.metadata.version(n) for n in ("numpy", *flags.backends)},
        "rounds": flags.rounds,
        "prompt_tokens": _PROMPT_TOKENS,
        "models": models,
        "cases": [{**dataclasses.asdict(case), "median_s": case.median_s} for case in cases],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written to {file}")


if __name__ == "__main__":
    main()
