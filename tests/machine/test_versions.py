"""The table that doctor compares a machine with."""

import importlib.metadata
import pathlib
import re

import pytest

from pirig.machine import versions

LOCKS = pathlib.Path(__file__).parents[2] / "locks"


def test_the_table_is_what_the_lock_files_say():
    locked = {}
    for lock in ("libero", "checkpoints", "jax", "torch", "stack", "trackers"):
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", (LOCKS / f"{lock}.txt").read_text(), re.MULTILINE):
            locked.setdefault(name, set()).add(version)
    assert {name: set(wanted) for name, (_, wanted) in versions.pins().items()} == locked, "run make lock"


def test_this_environment_is_as_locked():
    found = versions.check()
    assert found.status == "ok", found
    assert "mujoco 3.2.3" in found.found, found


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("numpy", "1.26.4", "numpy is 1.26.4, 2.4.6 is needed"),
        ("mujoco", None, "mujoco is missing, 3.2.3 is needed"),
        ("jax", "0.4.1", "jax is 0.4.1, 0.10.2 is needed"),
        ("jax", None, None),
    ],
)
def test_another_version_is_named(monkeypatch, name, version, said):
    installed = importlib.metadata.version

    def other(asked):
        if asked != name:
            return installed(asked)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(asked)
        return version

    monkeypatch.setattr(importlib.metadata, "version", other)
    found = versions.check()
    assert (found.status, said is None or said in found.found) == ("ok" if said is None else "error", True), found
