"""Read the `OPENPI_DUQUANT_*` variables of openpi's quantizing forks. Each is used, or rejected with its replacement.

Each row of TABLE is a variable. Quantization is enabled if a variable with `starts` is given. Variables that only
control diagnostics never enable it.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

from pirig.errors import ConfigError
from pirig.quantization.configuration import FLOAT, QuantConfig

PREFIX = "OPENPI_DUQUANT_"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclasses.dataclass(frozen=True)
class Request:
    """The request that the variables describe."""

    settings: QuantConfig  # the default configuration, with the values of the variables
    starts: bool = False  # a variable enables quantization; otherwise, settings apply only if a flag enables it
    folder: str = ""  # of packs
    list_only: bool = False  # list the layers and stop
    verbose: bool = False  # log every layer

    @property
    def configuration(self) -> QuantConfig | None:
        """The requested configuration, or None if the variables do not enable quantization."""
        return self.settings if self.starts else None


@dataclasses.dataclass(frozen=True)
class _Variable:
    meaning: str
    field: str = ""  # of QuantConfig
    read: Callable[[str], Any] = str
    starts: bool = False
    refused: str = ""  # reason for rejecting it, and what to do instead
    harmless: tuple[str, ...] = ()  # values that are accepted for a rejected variable, because they change nothing


def _number(text: str) -> int:
    return int(text)


def _bits(text: str) -> int:
    return int(text) or FLOAT


def _switch(text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise ValueError("expected 0 or 1")
    return text.lower() in _YES


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _bits_by_name(text: str) -> tuple[tuple[str, int], ...]:
    pairs = [part.rpartition(":") for part in _names(text)]
    if any(not name for name, _, _ in pairs):
        raise ValueError("expected name:bits,name:bits")
    return tuple((name.strip(), int(bits)) for name, _, bits in pairs)


TABLE = {
    "WBITS_DEFAULT": _Variable("weight bits, 2 to 8; 16 leaves weights as they are", "weight_bits", _bits, True),
    "WBITS": _Variable("weight bits of single layers, name:bits,…", "bits_of", _bits_by_name, True),
    "ABITS": _Variable(
        "activation bits, 4 or 8; 0 or 16: activations stay as they are", "activation_bits", _bits, True
    ),
    "SCOPE": _Variable("only layers whose name begins with this", "scope", str, True),
    "INCLUDE": _Variable("only layers whose name has a match of this pattern", "include", str, True),
    "EXCLUDE": _Variable("but not those with a match of this one", "exclude", str, True),
    "LAYERS": _Variable("exactly these layers, separated by commas", "layers", _names, True),
    "BLOCK": _Variable("channels that are rotated together, a power of two", "block", _number),
    "PERMUTE": _Variable("1: zigzag permutation", "permute", _switch),
    "LS": _Variable("smoothing: exponent of the activations; 0: none", "smoothing", float),
    "ACT_PCT": _Variable("percentile of a channel's activations that counts as its maximum", "percentile", float),
    "CALIB_STEPS": _Variable("observations to calibrate with, all of them used", "samples", _number),
    "PACKDIR": _Variable("folder of packs"),
    "PACKROOT": _Variable("folder of packs, where PACKDIR names none"),
    "DRYRUN": _Variable("1: name the layers and stop", read=_switch),
    "DEBUG": _Variable("1: say something of every layer", read=_switch),
    "ROW_ROT": _Variable(
        "output rotation",
        refused="a scale belongs to one output channel, so rotating outputs and turning them back costs time and "
        "gains nothing; set it to 0",
        harmless=("0",),
    ),
    "BLOCK_OUT": _Variable(
        "outputs that are rotated together",
        refused="outputs are not rotated (see ROW_ROT); unset it",
    ),
    "INCLUDE_ACTION_HEAD": _Variable(
        "quantize action_in and action_out too",
        refused="these are 0.03 % of the weights and decide every action; they stay as they are; set it to 0",
        harmless=_NO,
    ),
    "PRECACHE_WEIGHTS": _Variable(
        "quantize weights when the model is loaded",
        refused="weights are always packed before the first inference; set it to 1",
        harmless=_YES,
    ),
    "PROFILE": _Variable(
        "time layers",
        refused="layers are timed apart from evaluations: python benchmarks/quantization.py",
        harmless=_NO,
    ),
    "PROFILE_SYNC": _Variable(
        "wait for the device when timing", refused="benchmarks/quantization.py always waits; unset it", harmless=_NO
    ),
}


def read(variables: Mapping[str, str]) -> Request:
    """Read the request from `variables`, given by full name without empty ones.

    Raises ConfigError for an unknown name (with the closest known name), an unusable value, or a rejected variable.
    """
    values = {name.removeprefix(PREFIX): text.strip() for name, text in variables.items()}
    fields: dict[str, Any] = {}
    switches = {}
    for name, text in values.items():
        row = _known(name)
        if row.refused and text.lower() not in row.harmless:
            raise ConfigError(f"{PREFIX}{name}={text} ({row.meaning}): {row.refused}")
        try:
            value = row.read(text)
        except ValueError as e:
            raise ConfigError(f"{PREFIX}{name}={text!r} cannot be read ({row.meaning}): {e}") from e
        if row.field:
            fields[row.field] = value
        switches[name] = value
    starts = any(TABLE[name].starts for name in values)
    try:
        settings = QuantConfig(**fields)
    except ConfigError as e:
        raise ConfigError(f"{', '.join(PREFIX + name for name in values if TABLE[name].field)}: {e}") from e
    folder = values.get("PACKDIR") or values.get("PACKROOT") or ""
    return Request(settings, starts, folder, switches.get("DRYRUN", False), switches.get("DEBUG", False))


def _known(name: str) -> _Variable:
    if name not in TABLE:
        close = difflib.get_close_matches(name, TABLE, n=1, cutoff=0.0)
        raise ConfigError(f"{PREFIX}{name} is not a variable of pirig; did you mean {PREFIX}{close[0]}?")
    return TABLE[name]
