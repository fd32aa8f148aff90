"""Share Numba's compiled code among all workers of a machine: the first one compiles, and the others wait for it.

Otherwise each worker would spend the same 20 s at the same time, and all but one of them for nothing.
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
    """Call `compile_everything`, unless that has been done with these versions on this kind of machine.

    If another process is compiling, wait for it instead.
    """
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
    """Return a key that changes when Numba compiles again: for other versions, another processor, other sources."""
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite", "robosuite")]
    sources = [str(path.stat().st_mtime_ns) for path in sorted(pathlib.Path(__file__).parent.rglob("*.py"))]
    words = [__version__, platform.python_version(), _processor(), *versions, *sources]
    return hashlib.blake2b("\n".join(words).encode(), digest_size=8).hexdigest()


def _processor() -> str:
    """Return the model and the features of the processor, as Linux lists them."""
    return "".join(resources.cpuinfo("model name", "flags", "Features")) or platform.machine()
