"""Trackers: what the store has is what a reader of theirs finds. trackio and wandb only where they are installed."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pirig.cli import tracking
from pirig.errors import MissingExtra
from pirig.results.curves import Curves
from pirig.results.report import seconds
from pirig.results.store import RunStore
from support.recorded_runs import make_run


@pytest.fixture
def store(tmp_path):
    make_run(tmp_path / "run", tasks=2, trials=10, errors=2, seed=4)
    return RunStore.read(tmp_path / "run")


def track(name, store, *, after=0):
    """All results but the first `after`, which are known already."""
    results = list(store.results())
    with tracking.tracking(name, store, results[:after]) as hears:
        for result in results[after:]:
            hears(result)


def rates(results):
    """(scored so far, success rate) after each scored episode."""
    scored = [result.status == "success" for result in results if result.status != "error"]
    return [(n, sum(scored[:n]) / n) for n in range(1, len(scored) + 1)]


def test_tensorboard_shows_what_the_store_has(store):
    track("tensorboard", store)
    found = EventAccumulator(str(store.directory / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    results = list(store.results())
    shown = [(event.step, event.value) for event in found.Scalars("success_rate/all")]
    assert shown == [(n, pytest.approx(rate)) for n, rate in rates(results)]
    by_task = [(0, rates(r for r in results if r.spec.task_id == 0)), (1, rates(r for r in results if r.spec.task_id))]
    for task_id, expected in by_task:
        events = found.Scalars(f"success_rate/task_{task_id:02d}")
        assert [event.value for event in events] == pytest.approx([rate for _, rate in expected])
    successes = [result for result in results if result.status == "success"]
    assert [event.value for event in found.Scalars("steps_to_success")] == [result.steps for result in successes]
    assert found.Scalars("errors")[-1].value == 2
    scored = [result for result in results if result.status != "error"]
    for name in ("reset", "simulation", "rendering", "inference", "other"):
        events = found.Scalars(f"seconds/{name}")
        assert [event.value for event in events] == pytest.approx([seconds(result)[name] for result in scored])


def test_what_writes_them_loads_no_model_library(store):
    code = (
        "import sys; from pirig.cli import tracking; from pirig.results.store import RunStore\n"
        "store = RunStore.read('run')\n"
        "with tracking.tracking('tensorboard', store, ()) as hears: [hears(result) for result in store.results()]\n"
        "print([name for name in ('torch', 'jax', 'tensorflow', 'mujoco') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=store.directory.parent, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_run_that_goes_on_goes_on_with_its_curves(store):
    track("tensorboard", store, after=13)
    found = EventAccumulator(str(store.directory / "tensorboard")).Reload()
    shown = [(event.step, pytest.approx(event.value)) for event in found.Scalars("success_rate/all")]
    scored_before = sum(result.status != "error" for result in list(store.results())[:13])
    assert shown == rates(store.results())[scored_before:]


def test_an_error_moves_no_rate(store):
    curves = Curves()
    for result in store.results():
        before, values = curves.scored, curves.after(result)
        if result.status == "error":
            assert values.keys() == {"errors"}
            assert curves.scored == before


def test_a_tracker_that_fails_costs_no_episode(store, monkeypatch, caplog):
    class Full:
        def log(self, values, step):
            raise OSError("No space left on device")

        def close(self):
            raise AssertionError("it is left alone")

    monkeypatch.setitem(tracking._MAKERS, "tensorboard", lambda store: Full())
    with caplog.at_level("WARNING", "pirig"):
        track("tensorboard", store)
    assert caplog.text.count("the run goes on without it") == 1
    assert "No space left" in caplog.text


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_one_that_is_not_installed_is_named_before_anything_starts(name):
    with contextlib.suppress(ImportError):
        __import__(name)
        pytest.skip(f"{name} is installed")
    with pytest.raises(MissingExtra, match=f"{name} is not installed; get it with: .venv/bin/pip install {name}"):
        tracking.check(name)


def test_wandb_keeps_the_curves_without_a_network(store, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    track("wandb", store)
    (kept,) = store.directory.glob("wandb/offline-run-*/*.wandb")
    data = kept.read_bytes()
    assert data.count(b"success_rate/all") >= 18
    assert json.dumps(rates(store.results())[-1][1]).encode() in data


def test_trackio_keeps_the_curves_on_this_machine(store, tmp_path):
    pytest.importorskip("trackio")  # reads TRACKIO_DIR when it is imported
    code = (
        f"import sys; sys.path += {sys.path}; import cli.test_tracking as t; t.track('trackio', t.RunStore.read('run'))"
    )
    env = {**os.environ, "TRACKIO_DIR": str(tmp_path / "kept")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "kept/pirig.db")) as base:
        rows = base.execute("select step, metrics from metrics where run_name = 'run' order by id").fetchall()
    kept = [(step, json.loads(values)) for step, values in rows]
    assert [(s, v["success_rate/all"]) for s, v in kept if "success_rate/all" in v] == rates(store.results())


def test_a_run_of_the_real_simulator_is_tracked(tmp_path):
    words = "--suite libero_object --policy zero --task-ids 0 --trials 0 --video none --workers 1 --track tensorboard"
    done = subprocess.run(
        [sys.executable, "-m", "pirig.cli.main", "eval", "--run", "one", *words.split()],
        cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results/libero/runs/one"
    (event,) = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("seconds/simulation")
    (result,) = RunStore.read(folder).results()
    assert event.step == 1
    assert event.value == pytest.approx(seconds(result)["simulation"])
