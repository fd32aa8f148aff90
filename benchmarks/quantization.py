"""What quantization costs and gains: error, memory and time of a whole model, beside float and beside simulation.

    python benchmarks/quantization.py --recipe pi05_libero_tiny
    python benchmarks/quantization.py --recipe pi05_libero --methods rtn --rounds 3
    python benchmarks/quantization.py --recipe pi05_libero --device cuda --batches 1 2 4 8 16 32

Weights are random, of trained size, unless --checkpoint names some. `simulated` is what the field calls W4A8: weights
and activations rounded and turned back into floats, which then multiply. Actions are compared on observations that
no calibration has seen. All models take turns, so that ratios hold on a busy machine too. Prints a table, writes JSON.
"""

import dataclasses
import functools
import gc
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pirig.models import pi0_torch
from pirig.policies import ModelChoice, PackChoice, create_policy
from pirig.policies.make_pack import make_pack
from pirig.policies.pi0 import Pi0Policy
from pirig.policies.random_checkpoint import make_random_checkpoint
from pirig.quantization.configuration import METHODS, Method, QuantConfig, parse
from pirig.quantization.kernels import rows
from pirig.quantization.linear import QuantizedLinear
from pirig.types import Observation

_HELD_OUT = 4
_TOKENIZER = pathlib.Path(__file__).parents[1] / "tests/data/tokenizer/standin_sentencepiece.model"


@dataclasses.dataclass(frozen=True)
class Args:
    recipe: str = "pi05_libero_tiny"
    checkpoint: pathlib.Path | None = None
    """default: random weights, kept in --folder"""
    folder: pathlib.Path = pathlib.Path(tempfile.gettempdir()) / "pirig-benchmark"
    """for the random checkpoint and for packs; what is there is used again"""
    bits: tuple[str, ...] = ("w4a8",)
    methods: tuple[Method, ...] = METHODS
    kernels: tuple[str, ...] = ("auto",)
    """of quantization.kernels"""
    samples: int = 8
    """observations to calibrate with: noise in place of pictures"""
    batches: tuple[int, ...] = (1,)
    rounds: int = 10
    simulate: bool = True
    """also simulate in floats, with the first method's codes"""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    device: str = ""
    """cpu, cuda; default: the first accelerator, else the CPU"""
    output: pathlib.Path | None = None


@dataclasses.dataclass
class Case:
    """One model, and what was found of it."""

    name: str
    policy: Pi0Policy
    layers: dict[str, Any]  # of the pack
    bytes: int = 0
    cosine: float = 1.0
    relative: float = 0.0
    seconds: dict[int, list[float]] = dataclasses.field(default_factory=dict)


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    directory = flags.checkpoint or random_checkpoint(flags)
    cases = list(models(flags, directory))
    compare(cases, [observation(1000 + i) for i in range(_HELD_OUT)])
    measure(cases, flags)
    show(flags, cases)
    save(flags, cases)


def random_checkpoint(flags: Args) -> pathlib.Path:
    directory = flags.folder / flags.recipe
    if not directory.exists():
        make_random_checkpoint(flags.recipe, directory, layout="safetensors")
    return directory


def observation(seed: int) -> Observation:
    draw = np.random.default_rng(seed)
    cameras = ("observation/image", "observation/wrist_image")
    pictures = {name: draw.integers(0, 256, (224, 224, 3), np.uint8) for name in cameras}
    rest = {"observation/state": draw.standard_normal(8), "prompt": "pick up the milk", "noise_key": str(seed)}
    return pictures | rest


def models(flags: Args, directory: pathlib.Path) -> Iterator[Case]:
    """The float model first; then each bits, method and kernel, and one simulated in floats."""
    local: dict[str, Any] = {"tokenizer": _TOKENIZER, "cache": flags.folder / "cache"}  # a stand-in tokenizer
    load = functools.partial(create_policy, flags.recipe, directory, max_batch=max(flags.batches), **local)
    choice = ModelChoice(backend="torch", dtype=flags.dtype, device=flags.device)
    plain = load(choice)
    yield Case("float", plain, {}, held(plain))
    calibration = [observation(i) for i in range(flags.samples)]
    simulated = False
    for bits in flags.bits:
        for method in flags.methods:
            weight_bits, activation_bits = parse(bits)
            configuration = QuantConfig(method, weight_bits, activation_bits, samples=flags.samples)
            file = flags.folder / f"{flags.recipe}-{flags.dtype}-{configuration.digest[:16]}.safetensors"
            if not file.exists():
                start = time.perf_counter()
                make_pack(file, flags.recipe, directory, configuration, calibration, {}, dtype=flags.dtype,
                          device=flags.device, **local)  # fmt: skip
                size, seconds = file.stat().st_size / 2**30, time.perf_counter() - start
                print(f"{bits} {method}: packed in {seconds:.0f} s, {size:.3f} GiB")
            for kernel in flags.kernels:
                policy = load(dataclasses.replace(choice, kernel=kernel), pack=PackChoice(file))
                said = policy.metadata["quantization"]
                yield Case(f"{bits} {method} {said['kernel']}", policy, said, held(policy))
            if flags.simulate and not simulated:
                simulated = True
                policy = load(choice, pack=PackChoice(file))
                simulate(model_of(policy))
                yield Case(f"{bits} {method} simulated", policy, policy.metadata["quantization"], held(policy))


class Simulated(nn.Module):
    """Weights and activations are rounded, turned back into floats of the model's dtype, and multiplied there."""

    def __init__(self, layer: QuantizedLinear, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(layer.packed.dequantized().to(dtype), requires_grad=False)
        self.vec, self.order, self.block, self.bits = layer.vec, layer.order, layer.block, layer.activation_bits

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        codes, scale = rows.quantize_rows(flat, self.vec, self.order, self.block, self.bits)
        return F.linear((codes * scale[:, None]).to(x.dtype), self.weight).view(*x.shape[:-1], -1)


@torch.inference_mode()
def simulate(model: pi0_torch.Pi0) -> None:
    dtype = model.action_out_proj.weight.dtype
    for name, layer in list(model.named_modules()):
        if isinstance(layer, QuantizedLinear) and not name.endswith(("qkv", "gate_up")):
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, Simulated(layer, dtype))
    for part in (model.llm, model.expert):
        for layer in part.layers:
            layer.self_attn.qkv = layer.mlp.gate_up = None
    gc.collect()


def model_of(policy: Pi0Policy) -> pi0_torch.Pi0:
    return policy._backend._model  # ty: ignore[missing-attribute]


def held(policy: Pi0Policy) -> int:
    """Bytes of all parameters and buffers, each storage once."""
    model = model_of(policy)
    storages = {}
    for tensor in (*model.parameters(), *model.buffers()):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def compare(cases: Sequence[Case], seen: Sequence[Observation]) -> None:
    """Normalized or not, the first case's actions are what the others are compared with."""
    found = [np.stack([case.policy.infer(obs)["actions"] for obs in seen]).ravel() for case in cases]
    for case, own in zip(cases, found, strict=True):
        case.cosine = float(own @ found[0] / np.linalg.norm(own) / np.linalg.norm(found[0]))
        case.relative = float(np.square(own - found[0]).sum() / np.square(found[0]).sum())


def measure(cases: Sequence[Case], flags: Args) -> None:
    """Host to host, observations in, actions out. The first round is not counted."""
    for batch in flags.batches:
        seen = [observation(2000 + i) for i in range(batch)]
        for round_ in range(flags.rounds + 1):
            for case in cases:
                start = time.perf_counter()
                case.policy.infer_batch(seen)
                if round_:
                    case.seconds.setdefault(batch, []).append(time.perf_counter() - start)


def show(flags: Args, cases: Sequence[Case]) -> None:
    table = Table(title=f"{flags.recipe} on {cases[0].policy.metadata['device']}", title_justify="left")
    columns = ["model", "layers", "MiB", "layer error", "action error", "cosine"]
    for column in (*columns, *(f"batch {b}, ms" for b in flags.batches), "float : this"):
        table.add_column(column, justify="right")
    for case in cases:
        said = case.layers
        times = [statistics.median(case.seconds[batch]) for batch in flags.batches]
        table.add_row(
            case.name,
            str(said["layers"]["replaced"]) if said else "",
            f"{case.bytes / 2**20:.1f}",
            f"{said['error']['mean']:.4f}" if said else "",
            f"{case.relative:.5f}",
            f"{case.cosine:.5f}",
            *(f"{1e3 * seconds:.1f}" for seconds in times),
            f"{statistics.median(cases[0].seconds[flags.batches[0]]) / times[0]:.2f}",
        )
    Console(width=160).print(table)


def save(flags: Args, cases: Sequence[Case]) -> None:
    device = cases[0].policy.metadata["device"]
    place = "cpu" if device == "cpu" else device.lower().replace(" ", "-")
    output = flags.output or pathlib.Path(__file__).parent / f"results/quantization-{flags.recipe}-{place}.json"
    document = {
        "recipe": flags.recipe,
        "device": device,
        "machine": {"processor": platform.processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
        "dtype": flags.dtype,
        "calibration": f"{flags.samples} observations of noise",
        "held_out_observations": _HELD_OUT,
        "cases": [
            {
                "name": case.name,
                "bytes": case.bytes,
                "layers": case.layers.get("layers"),
                "layer_bytes": case.layers.get("bytes"),
                "kernel": case.layers.get("kernel"),
                "layer_error": case.layers.get("error", {}).get("mean"),
                "action_error": case.relative,
                "action_cosine": case.cosine,
                "median_s": {batch: statistics.median(times) for batch, times in case.seconds.items()},
                "float_to_this": {
                    batch: statistics.median(cases[0].seconds[batch]) / statistics.median(times)
                    for batch, times in case.seconds.items()
                },
            }
            for case in cases
        ],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(output)


if __name__ == "__main__":
    main()
