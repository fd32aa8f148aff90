"""Read norm stats, locate the tokenizer, and compute the fingerprint that identifies a checkpoint's content."""

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
    """Return the path of the norm stats. Raises ConfigError, with the list of available ones, if it does not exist."""
    file = directory / "assets" / asset_id / "norm_stats.json"
    if not file.is_file():
        found = sorted(directory.glob("assets/**/norm_stats.json"))
        names = ", ".join(str(f.parent.relative_to(directory / "assets")) for f in found) or "none"
        raise ConfigError(f"{file} is missing: the checkpoint has norm stats for {names}; expected {asset_id}")
    return file


def norm_stats(directory: pathlib.Path, asset_id: str) -> dict[str, Any]:
    """Return the norm stats document. Raises ConfigError if it is missing or not JSON."""
    file = norm_stats_file(directory, asset_id)
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as e:
        raise DamagedFile(f"{file} cannot be read: {e}; fetch or copy the checkpoint again") from e


def neutral_norm_stats(sizes: Mapping[str, int]) -> dict[str, Any]:
    """Return a norm stats document that leaves values unchanged.

    `sizes` is the size of each array, for example {"state": 8, "actions": 7}.
    """
    rows = {"mean": 0.0, "std": 1.0, "q01": -1.0, "q99": 1.0}
    return {"norm_stats": {name: {key: [x] * n for key, x in rows.items()} for name, n in sizes.items()}}


def tokenizer_file(home: pathlib.Path) -> pathlib.Path:
    """Return the path of PaliGemma's tokenizer below OPENPI_DATA_HOME, whether the file exists or not."""
    return home / TOKENIZER_PATH


def fingerprint(checkpoint: Checkpoint, cache: pathlib.Path) -> str:
    """Return a hex digest of the weights' names, dtypes, shapes and content, and of the norm stats.

    The digest is cached in the folder `cache` until the size, modification time or inode change time of a file of the
    checkpoint changes. The change time is included because a program cannot set it, whereas copying a file can set
    its modification time.
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
        pass  # without a writable cache, the digest is only computed again
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
