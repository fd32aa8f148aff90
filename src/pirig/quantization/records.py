"""Define the records of layers and groups in a pack's header, where they are JSON objects with the fields' names."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

Record = TypeVar("Record", "LayerRecord", "GroupRecord")


@dataclasses.dataclass(frozen=True, slots=True)
class LayerRecord:
    """The record of one quantized layer."""

    bits: int  # of a weight
    shape: tuple[int, int]  # output channels, input channels
    error: float  # squared error of the layer's output caused by rounding its weights, relative to the output


@dataclasses.dataclass(frozen=True, slots=True)
class GroupRecord:
    """The record of layers that share a transform, with the parts of it that are folded into preceding layers."""

    layers: tuple[str, ...]
    repeats: int  # number of parts of the input that are transformed identically
    scales_taken_over: bool
    order_taken_over: bool
    rotation_taken_over: bool


def from_json(kind: type[Record], document: Mapping[str, Any]) -> Record:
    """Return the record that a JSON object holds. Raises TypeError if it has different fields."""
    fields: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in document.items()}
    return kind(**fields)
