"""Run folders with known outcomes, written by the store itself."""

import numpy as np

from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec

CONFIGURATION = {
    "suite": "libero_object",
    "policy": "one",
    "policy_metadata": {"name": "one"},
    "headless": True,
    "seed": 7,
    "seeding": "per-episode",
    "max_steps": 280,
    "settle_steps": 10,
    "replan_steps": 5,
    "resize_size": 224,
    "gl": "osmesa",
    "versions": {"mujoco": "3.2.3"},
}


def episode(suite, task, trial, status, *, steps=100, seed=7):
    taken = 290 if status == "failure" else steps
    return EpisodeResult(EpisodeSpec(suite, task, trial, seed), status, taken, 290, actions=np.zeros((2, 7)))


def write(directory, outcomes, *, complete=True, steps=100, **configuration):
    """`outcomes`: (task, trial) -> status. Returns the store, for reading."""
    made = {**CONFIGURATION, **configuration}
    with RunStore.open(directory, made) as store:
        for (task, trial), status in outcomes.items():
            store.append(episode(made["suite"], task, trial, status, steps=steps, seed=made["seed"]))
        store.note(planned=len(outcomes), complete=complete)
    return RunStore.read(directory)


def outcomes(failures, *, tasks=2, trials=10):
    """Successes, but for the (task, trial) in `failures`."""
    every = [(task, trial) for task in range(tasks) for trial in range(trials)]
    return {key: "failure" if key in failures else "success" for key in every}
