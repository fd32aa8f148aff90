"""Define policies without a model: baselines that every real policy must beat, and known answers to test the evaluator.

None of them reads an image, so no images are rendered for them.
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

_HORIZON, _ACTION_SIZE = 10, 7  # action horizon of pi05_libero, action size of LIBERO

Recorded = Callable[[str], Mapping[EpisodeSpec, np.ndarray]]
"""Read the executed actions of a run, float64[T, 7] for each episode."""


def make(name: str, recorded: Recorded) -> Policy:
    """Make the policy `name`: zero, random, scripted or replay:RUN. Raises ConfigError for any other name."""
    if name.startswith("replay:"):
        return ReplayPolicy(name, recorded(name.removeprefix("replay:")))
    if name not in _BASELINES:
        raise ConfigError(unknown("policy", name, NAMES))
    return _BASELINES[name]()


class ZeroPolicy(OneByOne):
    """The zero policy holds still with an open gripper."""

    metadata: Metadata = {"name": "zero", "observations": []}

    def infer(self, obs: Observation) -> dict[str, Any]:
        actions = np.zeros((_HORIZON, _ACTION_SIZE))
        actions[:, 6] = -1.0
        return {"actions": actions}


class RandomPolicy(OneByOne):
    """The random policy draws standard normal actions from a generator seeded by the observation's noise key."""

    metadata: Metadata = {"name": "random", "observations": []}

    def infer(self, obs: Observation) -> dict[str, Any]:
        return {"actions": seeding.noise(obs.get("noise_key", ""), (_HORIZON, _ACTION_SIZE)).astype(np.float64)}


class ReplayPolicy(OneByOne):
    """The replay policy repeats the actions of an earlier run. Raises PolicyError for an episode not in that run."""

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
