"""Small disks: a tmpfs where this user may mount one. What they hold is gone with them."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Generator

import pytest

_MIB = 8


@contextlib.contextmanager
def small(folder: pathlib.Path) -> Generator[None]:
    """`folder` is a disk of 8 MiB while the block runs; what a run has left there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={_MIB}m", "pirig-faults", str(folder))
    try:
        yield
    finally:
        kept = folder.with_name(f"{folder.name}.kept")
        shutil.copytree(folder, kept)
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.copytree(kept, folder, dirs_exist_ok=True)


@contextlib.contextmanager
def full(folder: pathlib.Path) -> Generator[None]:
    """Not a byte is left while the block runs."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def read_only(folder: pathlib.Path) -> Generator[None]:
    """For whoever opens a file below it from now on; a disk that has files open for writing cannot be made so."""
    _mount("--bind", str(folder), str(folder))
    _mount("-o", "remount,bind,ro", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*words: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    for _ in range(20):  # a busy machine may still have a file open
        found = subprocess.run(["mount", *words], capture_output=True, text=True)
        if "busy" not in found.stderr:
            break
        time.sleep(0.5)
    if found.returncode:
        pytest.skip(f"no disk can be mounted here: {found.stderr.strip()}")
