"""What a pack says of its layers and groups. In the pack's header they are JSON objects with the fields' names."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

Record = TypeVar("Record", "LayerRecord", "GroupRecord")


@dataclasses.dataclass(frozen=True, slots=True)
class LayerRecord:
    """One quantized layer."""

    bits: int  # of a weight
    shape: tuple[int, int]  # output channels, input channels
    error: float  # of the layer's output by the rounding of its weights: squared, relative to the output


@dataclasses.dataclass(frozen=True, slots=True)
class GroupRecord:
    """Layers that share a transform, and which parts of it the layers before them have taken over."""

    layers: tuple[str, ...]
    repeats: int  # parts of the input that are treated alike
    scales_taken_over: bool
    order_taken_over: bool
    rotation_taken_over: bool


def from_json(kind: type[Record], document: Mapping[str, Any]) -> Record:
    """Return the record that a JSON object holds. Raises TypeError where its fields are others."""
    fields: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in document.items()}
    return kind(**fields)
