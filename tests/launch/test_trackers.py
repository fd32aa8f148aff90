"""Trackers: what the store has is what a reader of theirs finds. wandb and trackio: test_hosted_trackers.py."""

import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pirig.errors import MissingExtra
from pirig.launch.observers import trackers
from pirig.results.curves import Curves
from pirig.results.report import seconds
from pirig.results.store import RunStore
from support.command import call
from support.recorded_runs import make_run
from support.tracking import rates, track


@pytest.fixture
def store(tmp_path):
    make_run(tmp_path / "run", tasks=2, trials=10, errors=2, seed=4)
    return RunStore.read(tmp_path / "run")


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
        "import sys; from pirig.launch.observers.trackers import Tracking; from pirig.results.store import RunStore\n"
        "store = RunStore.read('run')\n"
        "tracking = Tracking('tensorboard', store, ())\n"
        "[tracking.result(result) for result in store.results()]; tracking.close()\n"
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

    monkeypatch.setitem(trackers._MAKERS, "tensorboard", lambda store: Full())
    with caplog.at_level("WARNING", "pirig"):
        track("tensorboard", store)
    assert caplog.text.count("the run goes on without it") == 1
    assert "No space left" in caplog.text


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_one_that_is_not_installed_is_named_before_anything_starts(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=f"{name} is not installed; get it with: .venv/bin/pip install {name}"):
        trackers.check(name)


def test_a_run_of_the_real_simulator_is_tracked(tmp_path):
    words = "--suite libero_object --policy zero --task-ids 0 --trials 0 --video none --workers 1 --track tensorboard"
    ended = call(tmp_path, "eval", "--run", "one", *words.split())
    assert ended.code == 0, ended.err
    folder = tmp_path / "results/libero/runs/one"
    (event,) = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("seconds/simulation")
    (result,) = RunStore.read(folder).results()
    assert event.step == 1
    assert event.value == pytest.approx(seconds(result)["simulation"])
