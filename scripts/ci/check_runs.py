"""Checks that all runs in a folder, made in containers, have the same episodes, bit for bit, and say by which image and
with which quantization.

python scripts/ci/check_runs.py FOLDER [w4a8]
"""

import pathlib
import re
import sys

from pirig.results import quantization
from pirig.results.store import RunStore

folders = sorted(pathlib.Path(sys.argv[1]).iterdir())
stores = [RunStore.read(folder) for folder in folders]
runs = [{result.spec: result.outcome() for result in store.results()} for store in stores]
for session in (session for store in stores for session in store.manifest["sessions"]):
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", session.get("image", "")), session.get("image")
assert len(runs) > 1, f"{len(runs)} runs in {sys.argv[1]}"
assert runs[0], f"{len(runs)} runs in {sys.argv[1]}"
for folder, run in zip(folders, runs, strict=True):
    assert run == runs[0], f"{folder.name} and {folders[0].name} differ"
for store in stores:
    said = quantization.of_run(store.configuration)
    assert ([said.name] if said else []) == sys.argv[2:], said
print(f"{len(runs)} runs, {len(runs[0])} episodes: the same final states, steps and actions")
