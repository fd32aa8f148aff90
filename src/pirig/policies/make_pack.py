"""Make the pack of a checkpoint: load it as a float model, run it on observations, and quantize its layers."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pirig import seeding
from pirig.checkpoints import assets
from pirig.models import pi0_torch, weights
from pirig.models.sampling import trim
from pirig.policies.backend_torch import find, inputs_of, tensor
from pirig.policies.layer_groups import groups
from pirig.policies.opened import open_checkpoint
from pirig.policies.pi0 import batch_of, inputs_for, noise_key
from pirig.quantization import packs
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.packs import Header
from pirig.quantization.quantize import MEMORY_BYTES, Tell, quantize
from pirig.types import Observation


@torch.inference_mode()
def make_pack(
    file: pathlib.Path,
    recipe: str,
    directory: pathlib.Path,
    configuration: QuantConfig,
    observations: Sequence[Observation],
    calibration: Mapping[str, Any],
    *,
    dtype: str = "bfloat16",
    device: str = "",
    tell: Tell = lambda *_: None,
    memory_bytes: int = MEMORY_BYTES,
    tokenizer: str | pathlib.Path = assets.DEFAULT_TOKENIZER,
    cache: str | pathlib.Path = assets.DEFAULT_CACHE,
) -> Header:
    """Write a pack to `file`. The same inputs give the same bytes on the same kind of machine.

    Args:
        observations: calibration observations, as many as the configuration requires. Each is run through all
            denoising steps.
        calibration: the description of the observations that is stored in the pack.
        memory_bytes: memory for the moments of the layers' inputs; if they need more, the model runs several times.
        tokenizer, cache: see `open_checkpoint`.

    Raises ConfigError if the checkpoint is not of the recipe's model or the configuration does not fit it.
    """
    place = find(device)
    opened = open_checkpoint(recipe, directory, dtype, tokenizer=tokenizer, cache=cache)
    row = opened.recipe
    arrays = ((name, tensor(array)) for name, array in weights.as_torch(opened.checkpoint.arrays, row.model))
    model = pi0_torch.model(arrays, row.model, getattr(torch, dtype), place, joined=False)
    prepare = inputs_for(row, opened.tokenizer, opened.stats)
    shape = (row.model.action_horizon, row.model.action_size)

    def run() -> None:
        for i, obs in enumerate(observations):
            tell("calibrating", i, len(observations))
            batch = trim(batch_of([prepare(obs)], [seeding.noise(noise_key(obs), shape)]))
            inputs = pi0_torch.Inputs(*(x.to(place) for x in inputs_of(batch, row.model)))
            pi0_torch.sample(inputs, model, None, row.model)  # without tables, so that the last layer runs too

    made = quantize(model, groups(row.model), configuration, run, tell, memory_bytes)
    said = calibration if configuration.calibrates else {}
    header = Header(recipe, opened.fingerprint, dtype, configuration.document(), said, made.layers, made.groups)
    return packs.write(file, header, made.tensors)
