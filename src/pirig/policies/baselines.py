"""Policies without a model: floors that every real policy must beat, and known answers for the evaluator itself.

None of them reads an image, so none is rendered.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pirig import seeding
from pirig.errors import ConfigError, PolicyError
from pirig.interfaces import Policy
from pirig.policies.scripted import ScriptedPolicy
from pirig.policies.wrappers import OneByOne
from pirig.text import unknown
from pirig.types import EpisodeSpec, Metadata, Observation

_HORIZON, _ACTION_SIZE = 10, 7  # of pi05_libero and of LIBERO

Recorded = Callable[[str], Mapping[EpisodeSpec, np.ndarray]]
"""Reads a run: its executed actions, float64[T, 7], by episode."""


def make(name: str, recorded: Recorded) -> Policy:
    """`name`: zero, random, scripted or replay:RUN. Raises ConfigError for another."""
    if name.startswith("replay:"):
        return ReplayPolicy(name, recorded(name.removeprefix("replay:")))
    if name not in _BASELINES:
        raise ConfigError(unknown("policy", name, NAMES))
    return _BASELINES[name]()


class ZeroPolicy(OneByOne):
    """Holds still with an open gripper."""

    metadata: Metadata = {"name": "zero", "observations": []}

    def infer(self, obs: Observation) -> dict[str, Any]:
        actions = np.zeros((_HORIZON, _ACTION_SIZE))
        actions[:, 6] = -1.0
        return {"actions": actions}


class RandomPolicy(OneByOne):
    """Standard normal actions, decided by the observation's noise key."""

    metadata: Metadata = {"name": "random", "observations": []}

    def infer(self, obs: Observation) -> dict[str, Any]:
        return {"actions": seeding.noise(obs.get("noise_key", ""), (_HORIZON, _ACTION_SIZE)).astype(np.float64)}


class ReplayPolicy(OneByOne):
    """Does what was done in an earlier run. Raises PolicyError for an episode that the run does not have."""

    def __init__(self, name: str, actions: Mapping[EpisodeSpec, np.ndarray]):
        self._actions = actions
        self.metadata: Metadata = {"name": name, "observations": ["episode"], "replan_steps": 1}

    def infer(self, obs: Observation) -> dict[str, Any]:
        if "episode" not in obs:
            return {"actions": np.zeros((1, _ACTION_SIZE))}
        suite, task_id, trial, seed, step = obs["episode"]
        spec = EpisodeSpec(suite, task_id, trial, seed)
        if spec not in self._actions:
            raise PolicyError(f"the replayed run has no finished episode {spec.key}")
        actions = self._actions[spec][step : step + 1]
        return {"actions": actions if len(actions) else np.zeros((1, _ACTION_SIZE))}


_BASELINES: Mapping[str, Callable[[], Policy]] = {
    "scripted": ScriptedPolicy,
    "zero": ZeroPolicy,
    "random": RandomPolicy,
}
NAMES = (*_BASELINES, "replay:RUN")
