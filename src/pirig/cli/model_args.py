"""How a model is computed: flags that `pirig eval`, `pirig serve` and `pirig checkpoint` share."""

import dataclasses
from typing import Annotated, Literal

from pirig.cli.args import SAID


@dataclasses.dataclass(frozen=True)
class ModelArgs:
    backend: Literal["auto", "jax", "torch"] = "auto"
    """auto: torch for a checkpoint with model.safetensors, else jax, as the reference does"""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """of the model's weights and activations"""
    device: Annotated[str, SAID] = ""
    """cpu, cuda, cuda:1; default: the first accelerator, else the CPU"""
    trim: bool = True
    """leave out what cannot change the actions: the masked camera, prompt padding, unread layers"""
    strict: bool = False
    """batches of one size, so that the bits of an answer do not depend on what was computed beside it"""
    compile: bool = False
    """torch only: through torch.compile"""
    quantize: Annotated[str, SAID] = ""
    """w4a8, w8a8, w4a16, …, or a pack made by pirig quantize; default: as OPENPI_DUQUANT_* variables say"""
    pack_dir: Annotated[str, SAID] = ""
    """where packs are kept; default: OPENPI_DUQUANT_PACKDIR, else below PIRIG_CACHE"""
    kernel: Literal["auto", "exact", "int_mm", "triton"] = "auto"
    """what multiplies integers in a quantized model; the results are the same, bit for bit"""
