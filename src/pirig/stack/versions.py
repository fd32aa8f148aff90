"""Installed packages against the lock files: another version may be another benchmark."""

import importlib.metadata
import importlib.resources
import sys

from pirig.stack.findings import Finding

_NAMED = ("mujoco", "robosuite", "hf-libero", "bddl", "numba", "numpy")  # what decides the bits of a simulation
_REQUIRED = "libero"  # of the other lock files, what is not installed is not needed


def check() -> Finding:
    """Every package of the lock files, as far as it is installed."""
    found = {name: _installed(name) for name in pins()}
    wrong = [
        f"{name} is {version or 'missing'}, {' or '.join(wanted)} is needed"
        for name, (lock, wanted) in pins().items()
        if (version := found[name]) not in wanted and (version or lock == _REQUIRED)
    ]
    if wrong:
        shown = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        return Finding("versions", "error", f"{shown} (another version is another benchmark)", "make setup")
    python = ".".join(map(str, sys.version_info[:3]))
    named = ", ".join(f"{name} {found[name]}" for name in _NAMED)
    count = sum(version is not None for version in found.values())
    return Finding("versions", "ok", f"Python {python}, {named}; {count} packages as the lock files have them")


def pins() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Lock file and versions by package; several versions where Pythons differ. `make lock` writes pins.txt."""
    rows: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in importlib.resources.files("pirig.stack").joinpath("pins.txt").read_text().splitlines():
        lock, pin = line.split()
        name, version = pin.split("==")
        rows[name] = lock, (*rows.get(name, (lock, ()))[1], version)
    return rows


def _installed(name: str) -> str | None:
    """Without the part that names a build, as in `2.13.0+cpu`."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None
