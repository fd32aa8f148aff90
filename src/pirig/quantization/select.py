"""Select the layers to quantize, and the number of bits of each.

Law: Every name or pattern in a request must match at least one layer, otherwise it is an error. Nothing is ignored
    silently.
"""

import dataclasses
import difflib
import re
from collections.abc import Collection, Sequence

from pirig.errors import ConfigError
from pirig.quantization.configuration import FLOAT, QuantConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Fold:
    """The parts of a group's transform that are folded into the rows of preceding layers: scales, order, rotation."""

    scaled: tuple[str, ...]
    ordered: tuple[str, ...]
    rotates: bool
    readers: tuple[str, ...]  # all layers that read the folded layers' output


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Linear layers, by module name, that share a transform because they read the same or partly the same input.

    The input may consist of `repeats` adjacent parts (heads) that are transformed identically.
    """

    layers: tuple[str, ...]
    apart: bool = False  # each layer has a separate input
    repeats: int = 1
    fold: Fold | None = None

    @property
    def name(self) -> str:
        return self.layers[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Layers whose inputs are all distinct inputs of the group."""
        return self.layers if self.apart else self.layers[:1]


def select(groups: Sequence[Group], configuration: QuantConfig) -> dict[str, int]:
    """Return the weight bits of each selected layer, in the groups' order. Layers that stay float are omitted.

    Raises ConfigError if a part of the selection matches no layer, or if nothing is selected.
    """
    names = [name for group in groups for name in group.layers]
    chosen = names
    if configuration.layers:
        chosen = [_exactly(name, names) for name in configuration.layers]
    if configuration.scope:
        chosen = _some(
            [name for name in chosen if name.startswith(configuration.scope)], "SCOPE", configuration.scope, names
        )
    if configuration.include:
        found = [name for name in chosen if re.search(configuration.include, name)]
        chosen = _some(found, "INCLUDE", configuration.include, names)
    if configuration.exclude:
        out = _some(
            [name for name in chosen if re.search(configuration.exclude, name)], "EXCLUDE", configuration.exclude, names
        )
        chosen = [name for name in chosen if name not in out]
    bits = dict.fromkeys(chosen, configuration.weight_bits)
    for ending, own in configuration.bits_of:
        bits |= dict.fromkeys(_some([name for name in chosen if _ends(name, ending)], "WBITS", ending, names), own)
    selected = {name: bits[name] for name in names if bits.get(name, FLOAT) != FLOAT}
    if not selected:
        raise ConfigError(
            "quantization was asked for, and every layer is excluded or has 16 bits; ask for less, or for none"
        )
    return selected


def folds(group: Group, quantized: Collection[str], configuration: QuantConfig) -> Fold | None:
    """Return the group's fold if all layers that write or read the folded values are quantized, otherwise None."""
    fold = group.fold if configuration.method == "duquant" else None
    return fold if fold and set(quantized) >= {*fold.ordered, *fold.readers} else None


def _ends(name: str, ending: str) -> bool:
    return name == ending or name.endswith(f".{ending}")


def _exactly(name: str, names: Collection[str]) -> str:
    _some([name] if name in names else [], "LAYERS", name, names)
    return name


def _some(found: list[str], what: str, value: str, names: Collection[str]) -> list[str]:
    if found:
        return found
    kinds = sorted({name.rpartition(".")[2] for name in names})
    close = difflib.get_close_matches(value, [*kinds, *names], n=1, cutoff=0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"they are {', '.join(kinds)} below {_common(names)}"
    raise ConfigError(f"no layer matches {what}={value!r}, of {len(names)} that can be quantized; {hint}")


def _common(names: Collection[str]) -> str:
    """Return the beginnings of names, up to the layers' numbers."""
    return ", ".join(sorted({re.split(r"\d", name, maxsplit=1)[0] for name in names}))
