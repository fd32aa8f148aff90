"""Define the options for running a model: what the user chooses, and the pack that the choice resolves to."""

import dataclasses
import pathlib
from typing import Annotated, Literal

import tyro

from pirig.quantization.configuration import QuantConfig

DEFAULT_IN_HELP = tyro.conf.arg(help_behavior_hint="")
"""Hides tyro's "(default: …)" because the help text states the default."""


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    backend: Literal["auto", "jax", "torch"] = "auto"
    """auto: torch for a checkpoint with model.safetensors, else jax, as in openpi."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Data type of the model's weights and activations."""
    device: Annotated[str, DEFAULT_IN_HELP] = ""
    """cpu, cuda, cuda:1, …; default: the first accelerator, else the CPU."""
    trim: bool = True
    """Skip computation that cannot change the actions: the masked camera, prompt padding, layers that nothing reads."""
    strict: bool = False
    """Always compute batches of one size, so that no bit of an answer depends on the other observations of its
    batch."""
    compile: bool = False
    """Compile the model with torch.compile (torch only)."""
    quantize: Annotated[str, DEFAULT_IN_HELP] = ""
    """Quantize the model: w4a8, w8a8, w4a16, …, or a pack made by pirig quantize; default: what the OPENPI_DUQUANT_*
    variables say."""
    pack_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Folder of packs; default: OPENPI_DUQUANT_PACKDIR, else a folder below PIRIG_CACHE."""
    kernel: Literal["auto", "exact", "int_mm", "triton"] = "auto"
    """Kernel that multiplies integers in a quantized model. All kernels give identical results, bit for bit."""


@dataclasses.dataclass(frozen=True)
class PackChoice:
    """A pack file whose quantized layers replace the checkpoint's layers. Quantized layers run in PyTorch only."""

    file: pathlib.Path
    configuration: QuantConfig | None = None
    """The configuration that the pack must have been made with; None: any configuration."""
