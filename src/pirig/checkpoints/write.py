"""Write checkpoints in both layouts, part by part, so that at most one part is in memory.

A checkpoint appears under its name when it is complete. Until then, its folder is called `.NAME.partial`.
"""

import contextlib
import json
import math
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import tensorstore

from pirig.checkpoints.read import DTYPES, Layout
from pirig.errors import ConfigError, UnusableResource
from pirig.files import free_bytes, replacing
from pirig.text import size

Part = tuple[str, tuple[int, ...], np.ndarray]
"""The name of an array, the index of this part of it, and the part's values."""
Shapes = Mapping[str, tuple[int, ...]]
_SAFETENSORS_NAMES = {np.dtype(ml_dtypes.bfloat16): "BF16", np.dtype(np.float32): "F32"}


def write(
    directory: pathlib.Path,
    layout: Layout,
    parts: Iterable[Part],
    shapes: Shapes,
    dtype: str,
    documents: Mapping[str, Any],
) -> None:
    """Write a checkpoint to a new `directory`, with JSON `documents` by their path in it.

    For orbax, each of `parts` is a chunk of its array; for safetensors, it is a whole tensor. `dtype` is one of
    `read.DTYPES`. Raises ConfigError if the directory exists or the disk is too small.
    """
    needed = sum(map(math.prod, shapes.values())) * DTYPES[dtype].itemsize
    with _new(directory, needed, documents) as folder:
        (_orbax if layout == "orbax" else _safetensors)(folder, parts, shapes, dtype)


def _safetensors(folder: pathlib.Path, parts: Iterable[Part], shapes: Shapes, dtype: str) -> None:
    """Write the header's length, the header, then the tensors. The library cannot write them one by one."""
    target, kind = DTYPES[dtype], _SAFETENSORS_NAMES[DTYPES[dtype]]
    head: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offsets, end = {}, 0
    for name, shape in sorted(shapes.items()):
        offsets[name], end = end, end + math.prod(shape) * target.itemsize
        head[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offsets[name], end]}
    encoded = json.dumps(head, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, index, values in parts:
            assert not index, "a tensor is written whole"
            file.seek(8 + len(encoded) + offsets[name])
            file.write(np.ascontiguousarray(values.astype(target, copy=False)).tobytes())
        file.truncate(8 + len(encoded) + end)


def _orbax(folder: pathlib.Path, parts: Iterable[Part], shapes: Shapes, dtype: str) -> None:
    base = (folder / "params").absolute()
    base.mkdir()
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}})
    stores = {}
    for name, index, values in parts:
        if name not in stores:
            chunk = [1 if i < len(index) else size for i, size in enumerate(shapes[name])]
            stores[name] = tensorstore.open(
                {
                    "driver": "zarr",
                    "kvstore": {"driver": "ocdbt", "base": f"file://{base}", "path": _key(name)},
                    "metadata": {"compressor": {"id": "zstd", "level": 1}, "chunks": chunk},
                },
                create=True,
                dtype=DTYPES[dtype],
                shape=shapes[name],
                context=context,
            ).result()
        stores[name][index].write(values.astype(DTYPES[dtype])).result()
    (base / "_METADATA").write_text(json.dumps(_tree(shapes)))


def _tree(shapes: Shapes) -> dict[str, object]:
    """Return orbax's tree metadata: the sequence of keys that leads to each array."""
    paths = [("params", *name.split("/")) for name in shapes]
    entries = {
        str(path): {
            "key_metadata": [{"key": key, "key_type": 2} for key in path],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }
        for path in paths
    }
    return {"tree_metadata": entries, "use_zarr3": False, "store_array_data_equal_to_fill_value": True}


def _key(name: str) -> str:
    return ".".join(("params", *name.split("/")))


@contextlib.contextmanager
def _new(directory: pathlib.Path, needed: int, documents: Mapping[str, Any]) -> Generator[pathlib.Path]:
    """Yield a folder with space for `needed` bytes, and rename it to `directory` when the block ends."""
    if directory.exists():
        raise ConfigError(f"{directory} exists; name another folder, or remove it")
    with replacing(directory, has_one_writer=True) as partial:
        try:
            partial.mkdir(parents=True)
        except OSError as e:
            raise UnusableResource(f"cannot write {directory}: {e.strerror}; name another folder") from e
        free = free_bytes(partial)
        if needed > free:
            raise UnusableResource(
                f"{directory} needs {size(needed)}; its disk has {size(free)} free; choose another disk"
            )
        yield partial
        for name, document in documents.items():
            file = partial / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(document))
