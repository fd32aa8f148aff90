"""Write whole files, find existing parent folders, and convert values to plain JSON."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Generator
from typing import Any


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, sync: bool = True, has_one_writer: bool = False) -> Generator[pathlib.Path]:
    """Yield a path beside `path` to write a file or a folder to, and rename it to `path` when the block ends.

    Readers see the old content or the new one, never a part. If the block raises, `path` stays as it was and the
    partial file is removed. With `sync`, a file's content is on disk before the rename. Where the caller knows that
    `has_one_writer` holds, all processes use one partial name, so the next one removes what a killed process left.
    """
    process = "" if has_one_writer else f".{os.getpid()}"
    partial = path.with_name(f".{path.stem}{process}.partial{path.suffix}")
    if has_one_writer:
        remove(partial)
    try:
        yield partial
        if sync and partial.is_file():
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        remove(partial)
        raise


def write_atomically(path: pathlib.Path, data: bytes | str, *, sync: bool = True, has_one_writer: bool = False) -> None:
    """Write a whole file, as `replacing` does."""
    with replacing(path, sync=sync, has_one_writer=has_one_writer) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def sync_folder(folder: pathlib.Path) -> None:
    """Make the names in `folder` survive a power failure: what was created, renamed or removed there stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: pathlib.Path) -> None:
    """Remove a file or a folder as far as that is possible; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def existing_parent(path: pathlib.Path) -> pathlib.Path:
    """Return `path` if it exists, else its nearest parent that does."""
    while not path.exists():
        path = path.parent
    return path


def free_bytes(path: pathlib.Path) -> int:
    """Return the free space of the disk that `path` is on, or would be on once it is made."""
    return shutil.disk_usage(existing_parent(path)).free


def plain_json(value: Any) -> Any:
    """Return `value` as JSON would read it back: lists for tuples and arrays, strings for what JSON has no form of."""
    return json.loads(json.dumps(value, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x)))
