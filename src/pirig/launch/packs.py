"""Find or make the pack of quantized layers that flags and `OPENPI_DUQUANT_*` variables ask for.

A missing pack is made first, in a process of its own: a process that evaluates must not hold a model, and a process
that serves should not keep the memory that calibration used.
"""

import dataclasses
import json
import logging
import multiprocessing
import multiprocessing.connection
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from pirig import envvars
from pirig.errors import ConfigError, MissingExtra, PirigError, StartError
from pirig.launch import calibration, logs, signals
from pirig.launch.preparation_progress import QuantizationProgress
from pirig.policies.choice import ModelChoice
from pirig.policies.layer_groups import groups
from pirig.policies.recipes import recipe as find_recipe
from pirig.quantization import variables
from pirig.quantization.configuration import QuantConfig, pack_name, parse
from pirig.quantization.records import LayerRecord
from pirig.quantization.select import select
from pirig.types import Metadata

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The quantization that flags and variables ask for."""

    configuration: QuantConfig | None = None
    file: pathlib.Path | None = None  # an existing pack
    folder: pathlib.Path = pathlib.Path()  # of packs
    list_only: bool = False
    verbose: bool = False

    def __bool__(self) -> bool:
        return self.configuration is not None or self.file is not None


@dataclasses.dataclass(frozen=True)
class Found:
    """A pack's file. `configuration` is what the pack must have been made with; None accepts any."""

    file: pathlib.Path
    configuration: QuantConfig | None
    verbose: bool = False  # log the error of every layer


def wanted(choice: ModelChoice) -> Wanted:
    """Return what flags and variables ask for; flags take precedence. Raises ConfigError for unusable values."""
    asked = variables.read(envvars.starting_with(variables.PREFIX))
    folder = pathlib.Path(choice.pack_dir or asked.folder or envvars.cache_dir() / "packs").expanduser()
    configuration = asked.configuration
    if choice.quantize.endswith(".safetensors"):
        if configuration:
            raise ConfigError(
                f"--quantize {choice.quantize} and OPENPI_DUQUANT_* variables both say what to quantize; leave one out"
            )
        return Wanted(None, pathlib.Path(choice.quantize).expanduser(), folder)
    if choice.quantize:
        weight_bits, activation_bits = parse(choice.quantize)
        configuration = dataclasses.replace(asked.settings, weight_bits=weight_bits, activation_bits=activation_bits)
    if configuration is None and (asked.list_only or asked.verbose):
        _log.info("OPENPI_DUQUANT_* variables are set, and none asks for quantization: the model stays as it is")
    return Wanted(configuration, None, folder, asked.list_only, asked.verbose)


def checked(recipe: str, choice: ModelChoice) -> Wanted:
    """Return `wanted(choice)`. Raises ConfigError also if it cannot be satisfied."""
    asked = wanted(choice)
    if asked and choice.backend == "jax":
        raise ConfigError("quantized models run in PyTorch only; leave --backend out, or say --backend torch")
    if asked.file and not asked.file.is_file():
        remedy = f"make it with: pirig quantize {recipe} --out {asked.file}"
        raise ConfigError(f"there is no pack {asked.file}; {remedy}")
    return asked


def check_done(choice: ModelChoice, metadata: Metadata) -> None:
    """Raise ConfigError if quantization was asked for and the policy's metadata do not confirm it."""
    asked, said = wanted(choice), metadata.get("quantization")
    if asked and not said:
        raise ConfigError(
            f"quantization was asked for, and the policy {metadata.get('name', '')} is not quantized; ask for it where "
            "the policy is loaded (pirig serve), or unset --quantize and OPENPI_DUQUANT_*"
        )
    found = said.get("name") if isinstance(said, Mapping) else said
    if asked.configuration and found != asked.configuration.name:
        raise ConfigError(
            f"the policy {metadata.get('name', '')} is quantized as {found}; asked for was {asked.configuration.name}; "
            "ask for the same where the policy is loaded (pirig serve), or not here"
        )


def requested_listing(recipe: str, choice: ModelChoice) -> str:
    """Return the layers that would be quantized if OPENPI_DUQUANT_DRYRUN asks for the list; else an empty text."""
    asked = checked(recipe, choice)
    return listing(recipe, asked.configuration) if asked.list_only and asked.configuration else ""


def pack_for(recipe: str, directory: pathlib.Path, choice: ModelChoice) -> Found | None:
    """Return the pack, and make it if it is missing; None if nothing is to be quantized. Raises ConfigError."""
    asked = checked(recipe, choice)
    if not asked:
        return None
    if asked.file:
        return Found(asked.file, None)
    assert asked.configuration is not None
    file = asked.folder / named(recipe, directory, asked.configuration, choice)
    if not file.is_file():
        _log.info("there is no pack %s yet: it is made now, once", file)
        make_apart(file, recipe, directory, asked.configuration, choice)
    _log.info("quantized as %s says", file)
    return Found(file, asked.configuration, asked.verbose)


def named(recipe: str, directory: pathlib.Path, configuration: QuantConfig, choice: ModelChoice) -> str:
    """Return the file name of a pack, which depends on everything that determines its content. Raises ConfigError."""
    from pirig.checkpoints import assets, read  # not installed on machines that only simulate
    from pirig.models import weights

    checkpoint = read.open_checkpoint(directory)
    weights.check(checkpoint.arrays, find_recipe(recipe).model)
    select(groups(find_recipe(recipe).model), configuration)
    source = calibration.source(configuration.samples, configuration.seed)
    content = assets.fingerprint(checkpoint, envvars.cache_dir())
    return pack_name(recipe, content, choice.dtype, configuration, source)


def listing(recipe: str, configuration: QuantConfig) -> str:
    """Return a line for each selected layer, and their number. Raises ConfigError if none is selected."""
    all_of_them = groups(find_recipe(recipe).model)
    chosen = select(all_of_them, configuration)
    total = sum(len(group.layers) for group in all_of_them)
    lines = [f"{name}  w{bits}a{configuration.activation_bits}" for name, bits in chosen.items()]
    return "\n".join([*lines, f"{len(chosen)} of {total} layers; method {configuration.method}"])


def make(
    file: pathlib.Path, recipe: str, directory: pathlib.Path, configuration: QuantConfig, choice: ModelChoice
) -> Mapping[str, LayerRecord]:
    """Render, calibrate and write `file`, with a progress bar. The model is loaded into this process. Return the
    pack's records of its layers. Raises PirigError.
    """
    from pirig.checkpoints import assets
    from pirig.policies.make_pack import make_pack

    found, said = [], {}
    with QuantizationProgress() as progress:
        if configuration.calibrates:
            try:
                found = calibration.observe(
                    configuration.samples, configuration.seed, lambda *count: progress.show("rendering", *count)
                )
            except MissingExtra as e:
                raise ConfigError(
                    f"{file} is not there, and observations to calibrate with cannot be rendered here: {e}; "
                    f"or make the pack where LIBERO is, with: pirig quantize {recipe}, or docker compose up quantize"
                ) from e
            source = calibration.source(configuration.samples, configuration.seed)
            said = {"sha256": calibration.digest(found), "samples": len(found), "source": json.loads(source)}
        header = make_pack(
            file,
            recipe,
            directory,
            configuration,
            found,
            said,
            dtype=choice.dtype,
            device=choice.device,
            tell=progress.show,
            tokenizer=assets.tokenizer_file(envvars.data_home()),
            cache=envvars.cache_dir(),
        )
    return header.layers


def make_apart(
    file: pathlib.Path, recipe: str, directory: pathlib.Path, configuration: QuantConfig, choice: ModelChoice
) -> None:
    """Call `make` in a process of its own. Raises StartError with the reason if it fails."""
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe(duplex=False)
    process = fresh.Process(target=_make, args=(theirs, file, recipe, directory, configuration, choice))
    process.start()
    theirs.close()
    try:
        problem = ours.recv()
    except EOFError:
        problem = "the process that made it ended without a word (out of memory?)"
    finally:
        if sys.exc_info()[0]:
            process.terminate()
        process.join()
    if problem:
        raise StartError(f"the pack {file} was not made: {problem}")


def _make(answer: multiprocessing.connection.Connection, *wanted: Any) -> None:
    logs.log_to_stderr()
    signals.raise_interrupted()
    try:
        make(*wanted)
    except PirigError as e:
        answer.send(str(e))
    else:
        answer.send("")
