"""Make observations of LIBERO scenes for calibration, rendered in a process of their own.

The observations are balanced over the standard suites and their tasks. Each is taken after a seeded number of steps of
the scripted policy, or of random actions where the suite has no script, so that the arm is in motion in many of them.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pirig import seeding
from pirig.launch import simulator
from pirig.policies import baselines
from pirig.sim import boot, suites
from pirig.types import STANDARD_OBSERVATIONS, EpisodeSpec, Observation

_VERSION = 1  # of the way in which observations are made; it is part of their name
_MOST_STEPS = 80
_SCRIPTED = ("libero_spatial", "libero_object", "libero_goal")


def source(samples: int, seed: int) -> str:
    """Return a name for the observations that `observe` would make, without making them."""
    told = {"libero": _VERSION, "suites": suites.STANDARD_SUITES, "samples": samples, "seed": seed}
    return json.dumps(told, sort_keys=True)


def specs(samples: int, seed: int) -> list[tuple[EpisodeSpec, int]]:
    """Return the episodes, and the step of each at which it is observed, in the order of suites and then of tasks."""
    found = []
    for i in range(samples):
        turn, index = divmod(i, len(suites.STANDARD_SUITES))
        suite = suites.STANDARD_SUITES[index]
        trial, steps = np.abs(seeding.noise(f"calibration/{seed}/{i}", (2,)).view(np.int32)).tolist()
        task = turn % len(suites.tasks(suite))
        found.append((EpisodeSpec(suite, task, trial % 50, seed), steps % (_MOST_STEPS + 1)))
    return found


def observe(samples: int, seed: int, tell: Callable[[int, int], None]) -> list[Observation]:
    """Render the observations. Raises MissingExtra if LIBERO is not installed, and StartError if nothing can be
    rendered.
    """
    suites.package_folder()
    settings = simulator.settings()
    found: list[Observation] = []
    fresh = multiprocessing.get_context("spawn")  # OpenGL and CUDA must not share a process
    with concurrent.futures.ProcessPoolExecutor(1, fresh, initializer=_open, initargs=(settings,)) as process:
        for i, obs in enumerate(process.map(_look, specs(samples, seed))):
            found.append({**obs, "noise_key": f"calibration/{seed}/{i}"})
            tell(len(found), samples)
    return found


def digest(observations: Sequence[Observation]) -> str:
    """Return the SHA-256 of the content of the observations."""
    total = hashlib.sha256()
    for obs in observations:
        for name, value in sorted(obs.items()):
            array = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else np.asarray(value)
            total.update(f"{name} {array.dtype} {list(array.shape)}\n".encode() + array.tobytes())
    return total.hexdigest()


_env: Any = None  # set in the process that renders


def _open(settings: boot.Settings) -> None:
    global _env
    from pirig.sim.libero import LiberoEnvironment

    _env = LiberoEnvironment(settings)


def _look(wanted: tuple[EpisodeSpec, int]) -> Observation:
    spec, steps = wanted
    rules = suites.rules(spec.suite)
    policy = baselines.make("scripted" if spec.suite in _SCRIPTED else "random", _nothing_recorded)
    keys = tuple(policy.metadata.get("observations", ()))
    total, carry = rules.settle_steps + steps, None
    step = _env.reset(spec, keys if total else STANDARD_OBSERVATIONS)
    for i in range(total):
        if i < rules.settle_steps:
            action = np.array(rules.settle_action)
        else:
            call = {"noise_key": seeding.noise_key(spec, i)} | ({"carry": carry} if carry else {})
            answer = policy.infer(step.observation | call)
            action, carry = answer["actions"][0], answer.get("carry")
        step = _env.step(action, keys if i + 1 < total else STANDARD_OBSERVATIONS)
    return step.observation


def _nothing_recorded(run: str) -> dict:
    raise KeyError(run)
