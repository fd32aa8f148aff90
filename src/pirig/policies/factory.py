"""Makes a policy from a recipe and a checkpoint."""

import importlib.util
import logging
import pathlib
import time
from typing import TYPE_CHECKING, Literal

from pirig import envvars, imports
from pirig.errors import ConfigError
from pirig.models import weights
from pirig.policies.backends import Backend, Shapes
from pirig.policies.pi0 import Pi0Policy
from pirig.policies.recipes import Recipe
from pirig.policies.recipes import recipe as find_recipe

if TYPE_CHECKING:
    from pirig.quantization.apply import Installation
    from pirig.quantization.configuration import QuantConfig

_log = logging.getLogger(__name__)
BackendName = Literal["auto", "jax", "torch"]
Dtype = Literal["bfloat16", "float32"]


def create_policy(
    recipe: str,
    checkpoint_dir: str | pathlib.Path,
    *,
    backend: BackendName = "auto",
    dtype: Dtype = "bfloat16",
    device: str | None = None,
    trim: bool = True,
    strict: bool = False,
    max_batch: int = 1,
    batch_on_cpu: bool = True,
    compile: bool = False,
    tokenizer: str | pathlib.Path | None = None,
    pack: pathlib.Path | None = None,
    configuration: "QuantConfig | None" = None,
    kernel: str = "auto",
) -> Pi0Policy:
    """Loads a checkpoint, in either layout, into either backend.

    Args:
        backend: auto takes torch for `model.safetensors` and jax for `params/`, as the reference does.
        device: cpu, cuda, cuda:1; default: the first accelerator, else the CPU.
        trim: leave out what cannot change the actions; False computes all that the reference does.
        strict: batches of one size, so that a row's bits do not depend on its neighbours.
        max_batch: the most observations that are computed together.
        batch_on_cpu: False takes one at a time where the device turns out to be the CPU.
        compile: torch only: through torch.compile.
        tokenizer: PaliGemma's SentencePiece model; default: below OPENPI_DATA_HOME.
        pack: quantized layers in the place of the checkpoint's own; torch only, which is then what auto means.
        configuration: what the pack must have been made with.
        kernel: multiplies integers: auto, or one of quantization.kernels.NAMES.

    Raises ConfigError for a checkpoint that is not the recipe's model and a pack that is not the checkpoint's,
    MissingExtra without the backend's packages.
    """
    start = time.perf_counter()
    row, directory = find_recipe(recipe), pathlib.Path(checkpoint_dir)
    require_readers()
    from pirig.checkpoints import assets, read
    from pirig.transforms.normalize import parse_norm_stats
    from pirig.transforms.prompt import PromptTokenizer

    checkpoint = read.open_checkpoint(directory, dtype)
    weights.check(checkpoint.arrays, row.model)
    content = assets.fingerprint(read.open_checkpoint(directory), envvars.cache_dir())  # before memory is full
    name = _choose("torch" if pack and backend == "auto" else backend, checkpoint.layout)
    if pack and name != "torch":
        raise ConfigError("quantized models run in PyTorch only; leave --backend out, or say --backend torch")
    stats = parse_norm_stats(assets.norm_stats(directory, row.asset_id), f"the norm stats of {directory}")
    words = PromptTokenizer(_tokenizer_file(tokenizer), row.model.max_tokens)
    imports.require(name, extra=name)
    model: Backend
    quantization = {}
    if name == "jax":
        from pirig.policies.backend_jax import JaxBackend

        model = JaxBackend(checkpoint.arrays, row.model, device=device)
    else:
        from pirig.policies.backend_torch import TorchBackend

        quantized = _quantized(pack, configuration, kernel, row, content, dtype) if pack else None
        model = torch_model = TorchBackend(
            checkpoint.arrays, row.model, dtype=dtype, device=device, compile=compile, quantized=quantized
        )
        quantization = torch_model.quantization
    metadata = {
        "name": recipe,
        "recipe": recipe,
        "backend": name,
        "dtype": dtype,
        "device": model.device,
        "checkpoint": content,
        "action_horizon": row.model.action_horizon,
        "trimming": trim,
        "strict": strict,
    }
    if pack:
        metadata["quantization"] = quantization
    _log.info("%s from %s loaded into %s on %s in %.1f s", recipe, directory, name, model.device,
              time.perf_counter() - start)  # fmt: skip
    max_batch = max_batch if batch_on_cpu or model.device != "cpu" else 1
    shapes = Shapes(row.model, max_batch=max_batch, trim=trim, strict=strict)
    return Pi0Policy(row, model, shapes, words, stats, metadata)


def _tokenizer_file(given: str | pathlib.Path | None) -> pathlib.Path:
    from pirig.checkpoints import assets

    file = pathlib.Path(given) if given else assets.tokenizer_file(envvars.data_home())
    if not file.is_file():
        raise ConfigError(
            f"there is no tokenizer at {file}; get it with: pirig checkpoint fetch {assets.TOKENIZER}, "
            "or set OPENPI_DATA_HOME to the folder that has big_vision/paligemma_tokenizer.model"
        )
    return file


def _quantized(
    file: pathlib.Path,
    configuration: "QuantConfig | None",
    kernel: str,
    row: Recipe,
    checkpoint: str,
    dtype: str,
) -> "Installation":
    from pirig.policies.layer_groups import groups
    from pirig.quantization import apply, packs
    from pirig.quantization.select import select

    pack = packs.read(file)
    packs.check(pack.header, file, recipe=row.name, checkpoint=checkpoint, dtype=dtype)
    if configuration and pack.header.configuration != configuration.document():
        found, expected = pack.header.configuration, configuration.document()
        apart = {name: found.get(name) for name in expected if found.get(name) != expected[name]}
        raise ConfigError(f"the pack {file} was made with {apart}; asked for was { ({n: expected[n] for n in apart}) }")
    expected = select(groups(row.model), apply.configuration_of(pack))
    return apply.Installation(pack, kernel, len(expected))


def require_readers() -> None:
    """Raises MissingExtra where checkpoints cannot be read."""
    for package in ("ml_dtypes", "tensorstore", "safetensors"):
        imports.require(package, extra="checkpoints")


def _choose(backend: BackendName, layout: str) -> Literal["jax", "torch"]:
    if backend != "auto":
        return backend
    preferred, other = ("torch", "jax") if layout == "safetensors" else ("jax", "torch")
    has_other_only = importlib.util.find_spec(preferred) is None and importlib.util.find_spec(other) is not None
    return other if has_other_only else preferred
