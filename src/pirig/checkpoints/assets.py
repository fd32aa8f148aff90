"""What lies beside the weights: norm stats, the tokenizer; and the fingerprint that names a checkpoint's content."""

import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pirig.checkpoints.address import TOKENIZER_PATH
from pirig.checkpoints.read import Checkpoint
from pirig.errors import ConfigError, DamagedFile
from pirig.files import write_atomically

_log = logging.getLogger(__name__)
DEFAULT_TOKENIZER = f"~/.cache/openpi/{TOKENIZER_PATH}"
DEFAULT_CACHE = "~/.cache/pirig"
_HASHED_AT_ONCE = 1 << 28  # [byte]


def norm_stats_file(directory: pathlib.Path, asset_id: str) -> pathlib.Path:
    """Raises ConfigError where there is none, naming those that there are."""
    file = directory / "assets" / asset_id / "norm_stats.json"
    if not file.is_file():
        found = sorted(directory.glob("assets/**/norm_stats.json"))
        names = ", ".join(str(f.parent.relative_to(directory / "assets")) for f in found) or "none"
        raise ConfigError(f"{file} is missing: the checkpoint has norm stats for {names}; expected {asset_id}")
    return file


def norm_stats(directory: pathlib.Path, asset_id: str) -> dict[str, Any]:
    """The document. Raises ConfigError where it is missing or no JSON."""
    file = norm_stats_file(directory, asset_id)
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as e:
        raise DamagedFile(f"{file} cannot be read: {e}; fetch or copy the checkpoint again") from e


def neutral_norm_stats(sizes: Mapping[str, int]) -> dict[str, Any]:
    """A document that normalizes nothing. `sizes`: of each array, as {"state": 8, "actions": 7}."""
    rows = {"mean": 0.0, "std": 1.0, "q01": -1.0, "q99": 1.0}
    return {"norm_stats": {name: {key: [x] * n for key, x in rows.items()} for name, n in sizes.items()}}


def tokenizer_file(home: pathlib.Path) -> pathlib.Path:
    """Where PaliGemma's tokenizer lies, below OPENPI_DATA_HOME; there or not."""
    return home / TOKENIZER_PATH


def fingerprint(checkpoint: Checkpoint, cache: pathlib.Path) -> str:
    """Hex digest over names, dtypes, shapes and content of the weights, and over the norm stats.

    Kept in the folder `cache` until a file of the checkpoint changes its size or one of its times; the inode's own
    cannot be set, as a copy sets the other one.
    """
    directory = checkpoint.directory.absolute()
    files = {str(f.relative_to(directory)): _stamp(f) for f in sorted(directory.rglob("*")) if f.is_file()}
    note = cache / "fingerprints" / f"{hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]}.json"
    try:
        known = json.loads(note.read_text())
        if known["files"] == files:
            return known["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    _log.info("reading all of %s once, for its fingerprint", directory)
    found = _fingerprint(checkpoint)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, json.dumps({"files": files, "fingerprint": found}), sync=False)
    except OSError:
        pass  # a read-only cache costs time, nothing else
    return found


def _fingerprint(checkpoint: Checkpoint) -> str:
    total = hashlib.sha256()
    arrays = checkpoint.arrays
    for name in sorted(arrays):
        digest = hashlib.blake2b(digest_size=32)
        flat = np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _HASHED_AT_ONCE):
            digest.update(flat[start : start + _HASHED_AT_ONCE].data)
        total.update(f"{name} {arrays.dtypes[name]} {list(arrays.shapes[name])} {digest.hexdigest()}\n".encode())
    for file in sorted(checkpoint.directory.glob("assets/**/norm_stats.json")):
        total.update(
            f"{file.relative_to(checkpoint.directory)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return total.hexdigest()


def _stamp(file: pathlib.Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
