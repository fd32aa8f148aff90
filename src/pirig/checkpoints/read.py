"""Read the weights of a checkpoint, array by array, in either layout.

    orbax        DIR/params/            one zarr array per weight, in an OCDBT database (or in plain folders)
    safetensors  DIR/model.safetensors  has precedence if both exist, as in the reference

Law: Opening a checkpoint reads names and shapes only. An array is read on access and is not cached, so that loading a
    model needs little more memory than the model itself.
"""

import copy
import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import ml_dtypes
import numpy as np
import safetensors
import tensorstore

from pirig.errors import ConfigError, DamagedFile
from pirig.text import and_more

Layout = Literal["orbax", "safetensors"]
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float32": np.dtype(np.float32)}
"""The dtypes that a model can compute in, by name."""
_SAFETENSORS_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Arrays(Mapping[str, np.ndarray]):
    """Arrays maps names to arrays, and reads each array on access."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]  # as stored, e.g. "float32"
    _dtype: np.dtype | None = None  # dtype to read arrays in; None: as stored

    def as_dtype(self, dtype: str) -> Self:
        """Return the same arrays, to be read in `dtype` (see DTYPES)."""
        other = copy.copy(self)
        other._dtype = DTYPES[dtype]
        return other

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    directory: pathlib.Path
    layout: Layout
    arrays: Arrays

    def as_dtype(self, dtype: str) -> "Checkpoint":
        """Return the same checkpoint, with its arrays to be read in `dtype` (see DTYPES)."""
        return dataclasses.replace(self, arrays=self.arrays.as_dtype(dtype))


def open_checkpoint(directory: pathlib.Path) -> Checkpoint:
    """Open a checkpoint. Its arrays are read in the dtype in which they are stored.

    Raises ConfigError if there is no checkpoint or it cannot be read.
    """
    directory = directory.expanduser()
    if (directory / "model.safetensors").is_file():
        return Checkpoint(directory, "safetensors", _SafetensorsArrays(directory / "model.safetensors"))
    if (directory / "params").is_dir():
        return Checkpoint(directory, "orbax", _OrbaxArrays(directory / "params"))
    raise ConfigError(f"{directory} is no checkpoint: {_what_is_there(directory)}")


def _what_is_there(directory: pathlib.Path) -> str:
    wanted = "a folder params/ or a file model.safetensors"
    if not directory.is_dir():
        return f"there is no such folder; expected one that has {wanted}"
    steps = sorted((d.name for d in directory.iterdir() if d.name.isdigit()), key=int)
    if steps:
        return f"it has training steps ({', '.join(steps[-3:])}); name one of them, as {directory / steps[-1]}"
    found = and_more(sorted(d.name for d in directory.iterdir()), 8) or "nothing"
    return f"found {found}; expected {wanted}"


class _SafetensorsArrays(Arrays):
    """The arrays of a safetensors file, read at their offsets in the file.

    The safetensors library only validates the file. If it read the tensors, it would map the whole file, and the
    mapped pages would count as this process's memory, in addition to the model.
    """

    def __init__(self, file: pathlib.Path):
        try:
            with safetensors.safe_open(file, "numpy"):
                head = _head(file)
            self.dtypes = {name: _SAFETENSORS_DTYPES[entry["dtype"]] for name, entry in head.items()}
        except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as e:
            raise DamagedFile(f"{file} cannot be read: {e}; fetch or copy it again") from e
        except KeyError as e:
            raise ConfigError(
                f"{file} holds values of type {e}; expected one of {', '.join(_SAFETENSORS_DTYPES)}"
            ) from e
        self.shapes = {name: tuple(entry["shape"]) for name, entry in head.items()}
        self._starts = {name: entry["data_offsets"][0] for name, entry in head.items()}
        self._file = file

    def __getitem__(self, name: str) -> np.ndarray:
        stored, shape = np.dtype(self.dtypes[name]), self.shapes[name]
        try:
            array = np.fromfile(self._file, stored, math.prod(shape), offset=self._starts[name]).reshape(shape)
        except (OSError, ValueError) as e:  # the file was complete when it was opened
            raise DamagedFile(f"the array {name} of {self._file} cannot be read: {e}; fetch or copy it again") from e
        return array if self._dtype is None else array.astype(self._dtype, copy=False)


def _head(file: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Return the dtype, shape and offsets of each tensor. The file has a length, then JSON, then the tensors."""
    with open(file, "rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        document = json.loads(opened.read(size))
    document.pop("__metadata__", None)
    for entry in document.values():
        entry["data_offsets"] = [8 + size + offset for offset in entry["data_offsets"]]
    return document


class _OrbaxArrays(Arrays):
    """The arrays of an orbax checkpoint, named by their path in the tree, such as `PaliGemma/llm/final_norm/scale`.

    The names omit the leading `params` and the trailing `value`, which training writes but published checkpoints do
    not have.
    """

    def __init__(self, folder: pathlib.Path):
        document = _tree(folder / "_METADATA")
        zarr = "zarr3" if document.get("use_zarr3") else "zarr"
        base = f"file://{folder.absolute()}"
        database = (folder / "manifest.ocdbt").exists()

        def spec(keys: list[str]) -> dict[str, Any]:
            name = ".".join(keys)
            # A path instead of a URL, because a URL would interpret some characters of a name.
            plain = {"driver": "file", "path": f"{folder.absolute()}/{name}/"}
            return {"driver": zarr, "kvstore": {"driver": "ocdbt", "base": base, "path": name} if database else plain}

        waiting = {_path(keys): tensorstore.open(spec(keys), open=True, read=True) for keys in _names(document, folder)}
        try:
            self._stores = {path: future.result() for path, future in waiting.items()}
        except (ValueError, OSError) as e:
            raise DamagedFile(f"{folder} cannot be read: {e}; fetch or copy it again") from e
        self.shapes = {path: tuple(store.shape) for path, store in self._stores.items()}
        self.dtypes = {path: store.dtype.name for path, store in self._stores.items()}
        self._folder = folder

    def __getitem__(self, path: str) -> np.ndarray:
        store = self._stores[path]
        store = store if self._dtype is None else tensorstore.cast(store, self._dtype)  # casts each chunk as it is read
        try:
            return store.read().result()
        except (ValueError, OSError) as e:
            raise DamagedFile(f"the array {path} of {self._folder} cannot be read: {e}; fetch or copy it again") from e


def _names(document: dict[str, Any], folder: pathlib.Path) -> list[list[str]]:
    """Return the path of each array in the tree. Law: No path leads out of the folder."""
    try:
        names = [[key["key"] for key in entry["key_metadata"]] for entry in document["tree_metadata"].values()]
    except (KeyError, TypeError, AttributeError) as e:
        raise DamagedFile(f"{folder}/_METADATA is damaged: {e!r}; fetch or copy the checkpoint again") from e
    for keys in names:
        is_plain = all(isinstance(key, str) and re.fullmatch(r"[\w-]+", key) for key in keys)
        if not is_plain or set(keys) <= {"params", "value"}:
            raise DamagedFile(f"{folder}/_METADATA names an array {keys!r:.80}; expected plain names; do not trust it")
    return names


def _tree(file: pathlib.Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
        if not document["tree_metadata"]:
            raise DamagedFile(f"{file} lists no arrays")
        return document
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
        raise DamagedFile(f"{file.parent} is no orbax checkpoint: {file.name} cannot be read ({e})") from e


def _path(keys: list[str]) -> str:
    keys = keys[1:] if keys[0] == "params" else keys
    return "/".join(keys[:-1] if keys[-1] == "value" else keys)
