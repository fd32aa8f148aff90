"""Make a policy from a recipe and a checkpoint."""

import importlib.util
import logging
import pathlib
import time
from typing import TYPE_CHECKING, Literal

from pirig import imports
from pirig.errors import ConfigError
from pirig.policies.backends import Backend, Shapes
from pirig.policies.choice import ModelChoice, PackChoice
from pirig.policies.pi0 import Pi0Policy

if TYPE_CHECKING:
    from pirig.policies.opened import OpenedCheckpoint
    from pirig.quantization.apply import Installation

_log = logging.getLogger(__name__)


def create_policy(
    recipe: str,
    checkpoint_dir: str | pathlib.Path,
    choice: ModelChoice = ModelChoice(),  # noqa: B008  a frozen value
    *,
    pack: PackChoice | None = None,
    max_batch: int = 1,
    batch_on_cpu: bool = True,
    tokenizer: str | pathlib.Path | None = None,
    cache: str | pathlib.Path | None = None,
) -> Pi0Policy:
    """Load a checkpoint, in either layout, into either backend.

    Args:
        choice: how to run the model. If `choice.quantize` is set, `pack` must be the pack that it names.
        pack: quantized layers that replace the checkpoint's layers. It needs the torch backend, so `backend="auto"`
            then means torch.
        max_batch: the largest number of observations that are computed together.
        batch_on_cpu: False limits batches to one observation if the device is the CPU.
        tokenizer: PaliGemma's SentencePiece model; default: ~/.cache/openpi/big_vision/paligemma_tokenizer.model.
        cache: folder where the checkpoint's fingerprint is kept; default: ~/.cache/pirig.

    Raises ConfigError if the checkpoint is not of the recipe's model or the pack is not of this checkpoint, and
    MissingExtra if the backend's packages are not installed.
    """
    start = time.perf_counter()
    if choice.quantize and not pack:
        raise ConfigError(f"no pack was given for quantize={choice.quantize!r}; make one with: pirig quantize {recipe}")
    require_readers()
    from pirig.checkpoints import assets
    from pirig.policies.opened import open_checkpoint

    opened = open_checkpoint(
        recipe,
        checkpoint_dir,
        choice.dtype,
        tokenizer=tokenizer or assets.DEFAULT_TOKENIZER,
        cache=cache or assets.DEFAULT_CACHE,
    )
    row, checkpoint = opened.recipe, opened.checkpoint
    name = _choose("torch" if pack and choice.backend == "auto" else choice.backend, checkpoint.layout)
    if pack and name != "torch":
        raise ConfigError("quantized models run in PyTorch only; leave --backend out, or say --backend torch")
    imports.require(name, extra=name)
    model: Backend
    quantization = {}
    if name == "jax":
        from pirig.policies.backend_jax import JaxBackend

        model = JaxBackend(checkpoint.arrays, row.model, device=choice.device or None)
    else:
        from pirig.policies.backend_torch import TorchBackend

        model = torch_model = TorchBackend(
            checkpoint.arrays,
            row.model,
            dtype=choice.dtype,
            device=choice.device or None,
            compile=choice.compile,
            quantized=_quantized(pack, opened, choice) if pack else None,
        )
        quantization = torch_model.quantization
    metadata = {
        "name": recipe,
        "recipe": recipe,
        "backend": name,
        "dtype": choice.dtype,
        "device": model.device,
        "checkpoint": opened.fingerprint,
        "action_horizon": row.model.action_horizon,
        "trimming": choice.trim,
        "strict": choice.strict,
    }
    if pack:
        metadata["quantization"] = quantization
    _log.info("%s from %s loaded into %s on %s in %.1f s", recipe, opened.directory, name, model.device,
              time.perf_counter() - start)  # fmt: skip
    max_batch = max_batch if batch_on_cpu or model.device != "cpu" else 1
    shapes = Shapes(row.model, max_batch=max_batch, trim=choice.trim, strict=choice.strict)
    return Pi0Policy(row, model, shapes, opened.tokenizer, opened.stats, metadata)


def _quantized(choice: PackChoice, opened: "OpenedCheckpoint", model: ModelChoice) -> "Installation":
    from pirig.policies.layer_groups import groups
    from pirig.quantization import apply, packs
    from pirig.quantization.select import select

    file, configuration, row = choice.file, choice.configuration, opened.recipe
    pack = packs.read(file)
    packs.check(pack.header, file, recipe=row.name, checkpoint=opened.fingerprint, dtype=model.dtype)
    if configuration and pack.header.configuration != configuration.document():
        found, expected = pack.header.configuration, configuration.document()
        apart = {name: found.get(name) for name in expected if found.get(name) != expected[name]}
        raise ConfigError(f"the pack {file} was made with {apart}; asked for was { ({n: expected[n] for n in apart}) }")
    expected = select(groups(row.model), apply.configuration_of(pack))
    return apply.Installation(pack, model.kernel, len(expected))


def require_readers() -> None:
    """Check that the packages that read checkpoints are installed. Raises MissingExtra if they are not."""
    for package in ("ml_dtypes", "tensorstore", "safetensors"):
        imports.require(package, extra="checkpoints")


def _choose(backend: Literal["auto", "jax", "torch"], layout: str) -> Literal["jax", "torch"]:
    if backend != "auto":
        return backend
    preferred, other = ("torch", "jax") if layout == "safetensors" else ("jax", "torch")
    has_other_only = importlib.util.find_spec(preferred) is None and importlib.util.find_spec(other) is not None
    return other if has_other_only else preferred
