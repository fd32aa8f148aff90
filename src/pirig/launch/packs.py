"""From flags and `OPENPI_DUQUANT_*` variables to the pack that a model is to be loaded with.

A pack that is not there yet is made first, before anything is served or evaluated, in a process of its own: the one
that evaluates must not hold a model, and the one that serves shall not keep what calibration leaves behind.
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
    """What flags and variables ask for."""

    configuration: QuantConfig | None = None
    file: pathlib.Path | None = None  # a pack that is there
    folder: pathlib.Path = pathlib.Path()  # of packs
    list_only: bool = False
    verbose: bool = False

    def __bool__(self) -> bool:
        return self.configuration is not None or self.file is not None


@dataclasses.dataclass(frozen=True)
class Found:
    """A pack's file, and what it must have been made with; None: whatever it says."""

    file: pathlib.Path
    configuration: QuantConfig | None
    verbose: bool = False  # say something of every layer


def wanted(choice: ModelChoice) -> Wanted:
    """Flags come before variables. Raises ConfigError for what cannot be used."""
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
    """`wanted`. Raises ConfigError where it cannot be had, too."""
    asked = wanted(choice)
    if asked and choice.backend == "jax":
        raise ConfigError("quantized models run in PyTorch only; leave --backend out, or say --backend torch")
    if asked.file and not asked.file.is_file():
        remedy = f"make it with: pirig quantize {recipe} --out {asked.file}"
        raise ConfigError(f"there is no pack {asked.file}; {remedy}")
    return asked


def check_done(choice: ModelChoice, metadata: Metadata) -> None:
    """Raises ConfigError where quantization was asked for here and the policy does not say that it has had it."""
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
    """Return the layers that would be quantized, where OPENPI_DUQUANT_DRYRUN asks for them; else an empty text."""
    asked = checked(recipe, choice)
    return listing(recipe, asked.configuration) if asked.list_only and asked.configuration else ""


def pack_for(recipe: str, directory: pathlib.Path, choice: ModelChoice) -> Found | None:
    """None where nothing is to be quantized. Makes the pack where there is none yet.

    Raises ConfigError.
    """
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
    """Name of the pack's file; it has in it all that the pack's content follows from. Raises ConfigError."""
    from pirig.checkpoints import assets, read  # not there where robots are simulated only
    from pirig.models import weights

    checkpoint = read.open_checkpoint(directory)
    weights.check(checkpoint.arrays, find_recipe(recipe).model)
    select(groups(find_recipe(recipe).model), configuration)
    source = calibration.source(configuration.samples, configuration.seed)
    content = assets.fingerprint(checkpoint, envvars.cache_dir())
    return pack_name(recipe, content, choice.dtype, configuration, source)


def listing(recipe: str, configuration: QuantConfig) -> str:
    """A line for each layer, and their number. Raises ConfigError where nothing is selected."""
    all_of_them = groups(find_recipe(recipe).model)
    chosen = select(all_of_them, configuration)
    total = sum(len(group.layers) for group in all_of_them)
    lines = [f"{name}  w{bits}a{configuration.activation_bits}" for name, bits in chosen.items()]
    return "\n".join([*lines, f"{len(chosen)} of {total} layers; method {configuration.method}"])


def make(
    file: pathlib.Path, recipe: str, directory: pathlib.Path, configuration: QuantConfig, choice: ModelChoice
) -> Mapping[str, LayerRecord]:
    """Renders, calibrates, writes `file`, with progress; loads the model into this process. Returns what the pack says
    of its layers. Raises PirigError.
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
    """`make` in a process of its own. Raises StartError with what went wrong there."""
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
