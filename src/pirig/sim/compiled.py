"""Numba's compiled code, shared by all workers of a machine: the first one compiles, the others wait for it.

Without that, each of them spends the same 20 s, at the same time, and all but one for nothing.
"""

import fcntl
import hashlib
import importlib.metadata
import pathlib
import platform
from collections.abc import Callable

from pirig import __version__
from pirig.machine import resources


def once(cache: pathlib.Path, compile_everything: Callable[[], object]) -> None:
    """Calls it where nobody has, with these versions on this kind of machine; waits for somebody who is at it."""
    marker = cache / f"compiled-{_key()}"
    if marker.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "compiling.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            compile_everything()
            marker.touch()


def _key() -> str:
    """Another one where Numba compiles again: other versions, another processor, other sources."""
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite", "robosuite")]
    sources = [str(path.stat().st_mtime_ns) for path in sorted(pathlib.Path(__file__).parent.rglob("*.py"))]
    words = [__version__, platform.python_version(), _processor(), *versions, *sources]
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()


def _processor() -> str:
    """Model and features, as Linux lists them."""
    return "".join(resources.cpuinfo("model name", "flags", "Features")) or platform.machine()
