"""How a model is computed: the value that `create_policy` takes, and the flags of every command that loads a model."""

import dataclasses
from typing import Annotated, Literal

import tyro

DEFAULT_IN_HELP = tyro.conf.arg(help_behavior_hint="")
"""Hides tyro's "(default: …)" because the help text states the default."""
BackendName = Literal["auto", "jax", "torch"]
Dtype = Literal["bfloat16", "float32"]


@dataclasses.dataclass(frozen=True)
class ModelChoice:
    backend: BackendName = "auto"
    """auto: torch for a checkpoint with model.safetensors, else jax, as the reference does"""
    dtype: Dtype = "bfloat16"
    """of the model's weights and activations"""
    device: Annotated[str, DEFAULT_IN_HELP] = ""
    """cpu, cuda, cuda:1; default: the first accelerator, else the CPU"""
    trim: bool = True
    """leave out what cannot change the actions: the masked camera, prompt padding, unread layers"""
    strict: bool = False
    """batches of one size, so that the bits of an answer do not depend on what was computed beside it"""
    compile: bool = False
    """torch only: through torch.compile"""
    quantize: Annotated[str, DEFAULT_IN_HELP] = ""
    """w4a8, w8a8, w4a16, …, or a pack made by pirig quantize; default: as OPENPI_DUQUANT_* variables say"""
    pack_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """where packs are kept; default: OPENPI_DUQUANT_PACKDIR, else below PIRIG_CACHE"""
    kernel: Literal["auto", "exact", "int_mm", "triton"] = "auto"
    """what multiplies integers in a quantized model; the results are the same, bit for bit"""
