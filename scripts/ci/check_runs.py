"""Checks that all runs in a folder have the same episodes, bit for bit: python scripts/ci/check_runs.py FOLDER."""

import pathlib
import sys

from pirig.results.store import RunStore

folders = sorted(pathlib.Path(sys.argv[1]).iterdir())
runs = [{result.spec: result.outcome() for result in RunStore.read(folder).results()} for folder in folders]
assert len(runs) > 1 and runs[0], f"{len(runs)} runs in {sys.argv[1]}"
for folder, run in zip(folders, runs, strict=True):
    assert run == runs[0], f"{folder.name} and {folders[0].name} differ"
print(f"{len(runs)} runs, {len(runs[0])} episodes: the same final states, steps and actions")
