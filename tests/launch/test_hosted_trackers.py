"""Weights & Biases (offline) and trackio keep what the store has. `make test-trackers` installs both and runs this."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from pirig.results.store import RunStore
from support.recorded_runs import make_run
from support.tracking import rates, track


@pytest.fixture
def store(tmp_path):
    make_run(tmp_path / "run", tasks=2, trials=10, errors=2, seed=4)
    return RunStore.read(tmp_path / "run")


def test_wandb_keeps_the_curves_without_a_network(store, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    track("wandb", store)
    (kept,) = store.directory.glob("wandb/offline-run-*/*.wandb")
    data = kept.read_bytes()
    assert data.count(b"success_rate/all") >= 18
    assert json.dumps(rates(store.results())[-1][1]).encode() in data


def test_trackio_keeps_the_curves_on_this_machine(store, tmp_path):
    code = (  # trackio reads TRACKIO_DIR when it is imported
        f"import sys; sys.path += {sys.path}\n"
        "from pirig.results.store import RunStore; from support.tracking import track\n"
        "track('trackio', RunStore.read('run'))"
    )
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path / "kept")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "kept/pirig.db")) as base:
        rows = base.execute("select step, metrics from metrics where run_name = 'run' order by id").fetchall()
    kept = [(step, json.loads(values)) for step, values in rows]
    assert [(s, v["success_rate/all"]) for s, v in kept if "success_rate/all" in v] == rates(store.results())
