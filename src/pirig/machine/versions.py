"""Compare the installed packages with the lock files, because another version may give other results."""

import contextlib
import importlib.metadata
import importlib.resources
import sys
from collections.abc import Iterable

from pirig.machine.findings import Finding
from pirig.text import and_more

_NAMED = ("mujoco", "robosuite", "hf-libero", "bddl", "numba", "numpy")  # packages that affect the bits of a simulation
_REQUIRED = "libero"  # lock file whose packages must all be installed; those of the others are optional


def check() -> Finding:
    """Check the version of every installed package in the lock files, and that none of `_REQUIRED` is missing."""
    found = {name: version.partition("+")[0] for name, version in installed(pins()).items()}  # +cpu names the build
    wrong = [
        f"{name} is {version or 'missing'}, {' or '.join(wanted)} is needed"
        for name, (lock, wanted) in pins().items()
        if (version := found.get(name)) not in wanted and (version or lock == _REQUIRED)
    ]
    if wrong:
        problem = f"{and_more(wrong, 5, '; ')} (another version is another benchmark)"
        return Finding("versions", "error", problem, "make setup")
    python = ".".join(map(str, sys.version_info[:3]))
    named = ", ".join(f"{name} {found[name]}" for name in _NAMED)
    return Finding("versions", "ok", f"Python {python}, {named}; {len(found)} packages as the lock files have them")


def pins() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the lock file and the versions of each package. `make lock` writes pins.txt.

    A package has several versions if they differ between versions of Python.
    """
    rows: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in importlib.resources.files("pirig.stack").joinpath("pins.txt").read_text().splitlines():
        lock, pin = line.split()
        name, version = pin.split("==")
        rows[name] = lock, (*rows.get(name, (lock, ()))[1], version)
    return rows


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the packages `names` that are installed, by package."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
