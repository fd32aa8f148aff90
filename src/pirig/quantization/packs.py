"""Read and write packs: a quantized model's integers in one safetensors file, with a description of their origin.

The file's metadata has one entry, a JSON document (`Header`).

Law: A pack is loaded only if checkpoint, dtype and configuration are those that it was made with, and its bytes are
    those that were written. Otherwise, the error names the difference.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pirig.errors import ConfigError, DamagedFile, UnusableResource
from pirig.files import replacing
from pirig.quantization.configuration import PACK_VERSION
from pirig.quantization.records import GroupRecord, LayerRecord, from_json

_KEY = "pirig"
_MAPPINGS = ("configuration", "calibration", "layers", "groups")
_READABLE = 0o644
_FETCH = "make it again with: pirig quantize"


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of a pack: its origin and its contents."""

    recipe: str
    checkpoint: str  # fingerprint
    dtype: str  # of the model that was quantized
    configuration: Mapping[str, Any]  # QuantConfig.document()
    calibration: Mapping[str, Any]  # hash and source of the observations; empty if there were none
    layers: Mapping[str, LayerRecord]
    groups: Mapping[str, GroupRecord]  # by the name of their first layer
    digest: str = ""  # of the tensors and of the other header fields
    version: int = PACK_VERSION


@dataclasses.dataclass(frozen=True, eq=False)
class Pack:
    header: Header
    tensors: dict[str, Tensor]
    file: pathlib.Path


def write(file: pathlib.Path, header: Header, tensors: Mapping[str, Tensor]) -> Header:
    """Write a pack atomically, and return the header with its digest.

    If this fails, no incomplete file is left. Raises ConfigError if the file cannot be written.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    header = dataclasses.replace(header, digest=_digest(header, ready))
    metadata = {_KEY: json.dumps(dataclasses.asdict(header), sort_keys=True)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial:
            safetensors.torch.save_file(ready, partial, metadata)
            partial.chmod(_READABLE)  # safetensors allows only the owner to read
    except (OSError, safetensors.SafetensorError) as e:
        raise UnusableResource(f"the pack {file} cannot be written: {e}; name another folder") from e
    return header


def read_header(file: pathlib.Path) -> Header:
    """Read a pack's header without its tensors. Raises ConfigError if the file is no pack or has another version."""
    try:
        with safetensors.safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(_KEY)
    except (OSError, safetensors.SafetensorError) as e:
        raise DamagedFile(f"the pack {file} cannot be read: {e}; {_FETCH}") from e
    if text is None:
        raise ConfigError(f"{file} is a safetensors file and no pack of pirig's; {_FETCH}")
    try:
        document = json.loads(text)
        if document["version"] != PACK_VERSION:
            raise ConfigError(f"the pack {file} has version {document['version']}; expected {PACK_VERSION}; {_FETCH}")
        header = Header(**document)
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise DamagedFile(f"the pack {file} has a damaged header ({e}); {_FETCH}") from e
    for name, value in vars(header).items():
        expected = int if name == "version" else Mapping if name in _MAPPINGS else str
        if not isinstance(value, expected):
            raise DamagedFile(f"the pack {file} has a damaged header: {name} is {value!r:.80}; {_FETCH}")
    try:
        layers = {name: from_json(LayerRecord, record) for name, record in document["layers"].items()}
        groups = {name: from_json(GroupRecord, record) for name, record in document["groups"].items()}
    except (TypeError, AttributeError) as e:
        raise DamagedFile(f"the pack {file} has a damaged header ({e}); {_FETCH}") from e
    return dataclasses.replace(header, layers=layers, groups=groups)


def read(file: pathlib.Path) -> Pack:
    """Read a pack. Raises ConfigError as `read_header` does, and if the content differs from what was written."""
    header = read_header(file)
    try:
        tensors = safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as e:
        raise DamagedFile(f"the pack {file} cannot be read: {e}; {_FETCH}") from e
    if (found := _digest(header, tensors)) != header.digest:
        raise DamagedFile(
            f"the pack {file} is damaged: its content has the digest {found[:12]}, expected {header.digest[:12]}; "
            f"remove it, and {_FETCH}"
        )
    return Pack(header, tensors, file)


def check(header: Header, file: pathlib.Path, *, recipe: str, checkpoint: str, dtype: str) -> None:
    """Check that a pack belongs to a model. Raises ConfigError if its recipe, checkpoint or dtype differs."""
    for what, found, expected in (
        ("recipe", header.recipe, recipe),
        ("checkpoint", header.checkpoint, checkpoint),
        ("dtype", header.dtype, dtype),
    ):
        if found != expected:
            raise ConfigError(f"the pack {file} was made for {what} {found}; this is {expected}; {_FETCH}")


def _digest(header: Header, tensors: Mapping[str, Tensor]) -> str:
    said = dataclasses.asdict(dataclasses.replace(header, digest=""))
    total = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return total.hexdigest()
