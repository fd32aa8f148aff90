"""Observations to calibrate with: LIBERO's own scenes, rendered in a process of their own.

Balanced over the standard suites and their tasks; each is what is seen after a seeded number of steps of the scripted
policy, or of random actions where it has no script: so the arm is at work in them, not only at rest.
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

_VERSION = 1  # of what follows: another way to observe is another one
_MOST_STEPS = 80
_SCRIPTED = ("libero_spatial", "libero_object", "libero_goal")


def source(samples: int, seed: int) -> str:
    """Names the observations, without making them."""
    told = {"libero": _VERSION, "suites": suites.STANDARD_SUITES, "samples": samples, "seed": seed}
    return json.dumps(told, sort_keys=True)


def specs(samples: int, seed: int) -> list[tuple[EpisodeSpec, int]]:
    """Episodes, and after how many steps they are looked at; suite after suite, then task after task."""
    found = []
    for i in range(samples):
        turn, index = divmod(i, len(suites.STANDARD_SUITES))
        suite = suites.STANDARD_SUITES[index]
        trial, steps = np.abs(seeding.noise(f"calibration/{seed}/{i}", (2,)).view(np.int32)).tolist()
        task = turn % len(suites.tasks(suite))
        found.append((EpisodeSpec(suite, task, trial % 50, seed), steps % (_MOST_STEPS + 1)))
    return found


def observe(samples: int, seed: int, tell: Callable[[int, int], None]) -> list[Observation]:
    """Raises MissingExtra where LIBERO is not installed, StartError where nothing can be rendered."""
    suites.package_folder()
    settings = simulator.settings()
    found: list[Observation] = []
    fresh = multiprocessing.get_context("spawn")  # OpenGL and CUDA keep apart
    with concurrent.futures.ProcessPoolExecutor(1, fresh, initializer=_open, initargs=(settings,)) as process:
        for i, obs in enumerate(process.map(_look, specs(samples, seed))):
            found.append({**obs, "noise_key": f"calibration/{seed}/{i}"})
            tell(len(found), samples)
    return found


def digest(observations: Sequence[Observation]) -> str:
    """SHA-256 of all that is in them."""
    total = hashlib.sha256()
    for obs in observations:
        for name, value in sorted(obs.items()):
            array = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else np.asarray(value)
            total.update(f"{name} {array.dtype} {list(array.shape)}\n".encode() + array.tobytes())
    return total.hexdigest()


_env: Any = None  # of the process that renders


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
