"""Quantize a checkpoint: write a pack, which `--quantize` loads in place of its layers (`pirig quantize`)."""

import dataclasses
import logging
import pathlib
import time
from typing import Annotated, Literal

import tyro

from pirig import envvars
from pirig.errors import ConfigError
from pirig.launch import logs, packs, signals
from pirig.launch.fetch import bring
from pirig.launch.settings import DEFAULT_IN_HELP, RECIPE
from pirig.policies.choice import ModelChoice
from pirig.policies.factory import require_readers
from pirig.policies.recipes import recipe as find_recipe
from pirig.quantization import variables
from pirig.quantization.configuration import Method, QuantConfig, parse

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class QuantizeArgs:
    """Flags of `pirig quantize`. An OPENPI_DUQUANT_* variable counts if its flag is not given."""

    recipe: tyro.conf.Positional[str] = RECIPE
    """Recipe of the model."""
    policy_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Checkpoint: a directory or an address; default: the published one."""
    out: Annotated[pathlib.Path | None, DEFAULT_IN_HELP] = None
    """File to write the pack to; default: a file in --pack-dir that is named after the pack's content, where
    --quantize finds it."""
    pack_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Folder of packs; default: OPENPI_DUQUANT_PACKDIR, else a folder below PIRIG_CACHE."""
    bits: Annotated[str, DEFAULT_IN_HELP] = ""
    """Bits of weights and activations: w4a8, w8a8, w4a16, w3a8, … With 0 or 16 bits activations are not quantized;
    default: w4a8."""
    method: Annotated[Method | None, DEFAULT_IN_HELP] = None
    """duquant: smoothing, zigzag permutation, Hadamard rotation and GPTQ. duquant-paper: with two greedy rotations.
    rtn: round to nearest, without calibration; default: duquant."""
    calibration_samples: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Number of observations to calibrate with, each with all its denoising times; default: 32."""
    group: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Number of columns that share a weight scale; default: all columns of an output channel."""
    block: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Largest number of channels that are rotated together, a power of two; default: 128."""
    smoothing: Annotated[float | None, DEFAULT_IN_HELP] = None
    """Exponent of the activations in smoothing; 0: no smoothing; default: 0.5."""
    scope: Annotated[str | None, DEFAULT_IN_HELP] = None
    """Quantize only layers whose name begins with this; default: all."""
    include: Annotated[str | None, DEFAULT_IN_HELP] = None
    """Quantize only layers whose name matches this regular expression; default: all."""
    exclude: Annotated[str | None, DEFAULT_IN_HELP] = None
    """Do not quantize layers whose name matches this regular expression; default: none."""
    seed: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Seed of rotations and observations; default: 0."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Data type of the model before quantization, and of the layers that are not quantized."""
    device: Annotated[str, DEFAULT_IN_HELP] = ""
    """cpu, cuda, cuda:1, …; default: the first accelerator, else the CPU."""
    dry_run: bool = False
    """Print the layers that would be quantized, and exit."""
    fresh: bool = False
    """Make the pack again even if it exists."""


def run(flags: QuantizeArgs) -> int:
    """Make the pack and print its path. Raises PirigError, and Interrupted on SIGINT or SIGTERM."""
    logs.log_to_stderr()
    signals.raise_interrupted()
    asked = variables.read(envvars.starting_with(variables.PREFIX))
    configuration = configured(flags, asked.settings)
    if flags.dry_run or asked.list_only:
        print(packs.listing(flags.recipe, configuration))
        return 0
    require_readers()
    directory = _checkpoint(flags)
    model = ModelChoice(dtype=flags.dtype, device=flags.device, pack_dir=flags.pack_dir or asked.folder)
    name = packs.named(flags.recipe, directory, configuration, model)
    file = flags.out or packs.wanted(model).folder / name
    if file.exists() and not flags.fresh:
        _log.info("%s is there; --fresh makes it again", file)
    else:
        _make(file, flags, directory, configuration, model, verbose=asked.verbose)
    print(file)
    return 0


def configured(flags: QuantizeArgs, start: QuantConfig) -> QuantConfig:
    """Return `start` with the values that flags give. Raises ConfigError for unusable values."""
    given = {
        "method": flags.method,
        "samples": flags.calibration_samples,
        "group": flags.group,
        "block": flags.block,
        "smoothing": flags.smoothing,
        "scope": flags.scope,
        "include": flags.include,
        "exclude": flags.exclude,
        "seed": flags.seed,
    }
    if flags.bits:
        given["weight_bits"], given["activation_bits"] = parse(flags.bits)
    return dataclasses.replace(start, **{name: value for name, value in given.items() if value is not None})


def _checkpoint(flags: QuantizeArgs) -> pathlib.Path:
    place = flags.policy_dir or find_recipe(flags.recipe).checkpoint
    if not place:
        raise ConfigError(f"nobody has published a checkpoint of {flags.recipe}; name one with --policy-dir")
    return bring(place)


def _make(
    file: pathlib.Path,
    flags: QuantizeArgs,
    directory: pathlib.Path,
    configuration: QuantConfig,
    model: ModelChoice,
    *,
    verbose: bool,
) -> None:
    start = time.monotonic()
    layers = packs.make(file, flags.recipe, directory, configuration, model)
    for name, layer in layers.items() if verbose else ():
        _log.info("%s: w%d %s, relative output error %.3g", name, layer.bits, list(layer.shape), layer.error)
    mean = sum(layer.error for layer in layers.values()) / len(layers)
    size, seconds = file.stat().st_size / 2**20, time.monotonic() - start
    _log.info("%d layers, mean relative output error %.3g, %.1f MiB, %.0f s", len(layers), mean, size, seconds)
