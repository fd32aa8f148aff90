"""Run one episode: reset -> settle -> [infer a chunk -> execute its first replan_steps actions] until success or limit.

Law 1: The result depends on the spec, the rules, the environment's protocol and the policy, and on nothing else.
Law 2: An observation that the policy does not receive is not rendered. For this, each call of the environment names the
observation keys that the policy reads next.
"""

import time
import traceback
from collections.abc import Collection
from typing import Any

import numpy as np

from pirig import seeding
from pirig.errors import PolicyError
from pirig.interfaces import Environment, Policy
from pirig.types import STANDARD_OBSERVATIONS, EpisodeResult, EpisodeSpec, Observation, Rules, Step, Timings


def run_episode(spec: EpisodeSpec, env: Environment, policy: Policy, rules: Rules) -> EpisodeResult:
    """Run an episode and return its result.

    An exception is not raised: it becomes a result with status `error` and the traceback.
    """
    start = time.perf_counter()
    episode = _Episode(spec, env, policy, rules)
    status, state_hash, error = "error", "", ""
    try:
        status = "success" if episode.run() else "failure"
        state_hash = env.state_hash()
    except Exception:
        status, error = "error", traceback.format_exc()
    actions = np.array(episode.executed, np.float64).reshape(-1, rules.action_size)
    return EpisodeResult(
        spec=spec,
        status=status,
        steps=episode.settled + len(actions),
        max_steps=rules.total_steps,
        wall_s=time.perf_counter() - start,
        timings=episode.timings(),
        actions=actions,
        state_hash=state_hash,
        trail=np.array(episode.trail, np.uint32),
        error=error,
    )


def warm_up(spec: EpisodeSpec, env: Environment, policy: Policy, rules: Rules) -> float:
    """Reset to `spec` and infer once, so that everything is compiled and checked before the first episode.

    Returns the time that this took [s]. Raises what the environment or the policy raises.
    """
    start = time.perf_counter()
    _Episode(spec, env, policy, rules).try_once()
    return time.perf_counter() - start


def observations_for(policy: Policy) -> tuple[str, ...]:
    """Return the observation keys that a policy reads."""
    return tuple(policy.metadata.get("observations", STANDARD_OBSERVATIONS))


def check_actions(answer: Any, rules: Rules) -> np.ndarray:
    """Return the actions of a policy's answer: float64[T, A], T >= replan_steps.

    Raises PolicyError, which names what was found and what was expected.
    """
    if not isinstance(answer, dict) or "actions" not in answer:
        found = f"keys {sorted(map(str, answer))}" if isinstance(answer, dict) else type(answer).__name__
        raise PolicyError(f"the policy must answer with a dict that has 'actions'; found {found}")
    actions = np.asarray(answer["actions"])
    if actions.dtype.kind not in "fiu" or actions.ndim != 2 or actions.shape[1] != rules.action_size:
        raise PolicyError(
            f"actions must be numbers of shape [T, {rules.action_size}]; found {actions.dtype}{list(actions.shape)}"
        )
    if len(actions) < rules.replan_steps:
        raise PolicyError(
            f"replan_steps is {rules.replan_steps}, but the policy's chunk has {len(actions)} actions; "
            f"use --replan-steps {len(actions)} or less"
        )
    if not np.isfinite(actions).all():
        step, axis = np.argwhere(~np.isfinite(actions))[0]
        raise PolicyError(f"the policy answered with {actions[step, axis]} in action {step}, axis {axis}")
    return actions.astype(np.float64)


def footprint(state_hash: str) -> int:
    """Return the first 32 bits of a state's hash."""
    return int(state_hash[:8], 16)


class _Episode:
    """Hold the state of one episode in progress."""

    def __init__(self, spec: EpisodeSpec, env: Environment, policy: Policy, rules: Rules):
        self._spec, self._env, self._policy, self._rules = spec, env, policy, rules
        wanted = observations_for(policy)
        self._look = tuple(key for key in wanted if key != "episode")
        self._names_episode = "episode" in wanted
        self._carry: Any = None
        self._reset_s = self._simulation_s = self._inference_s = 0.0
        self.settled, self._chunks = 0, 0
        self.executed: list[np.ndarray] = []
        self.trail: list[int] = []

    def run(self) -> bool:
        """Run the episode to its end. Return whether the task succeeded."""
        rules = self._rules
        step = self._settle()
        while len(self.executed) < rules.max_policy_steps:
            chunk = self._ask(step.observation)[: rules.replan_steps]
            for i, action in enumerate(chunk):
                last = i + 1 == len(chunk)
                step = self._advance(action, self._look if last else ())
                self.executed.append(action)
                if step.success:
                    return True
                if len(self.executed) == rules.max_policy_steps:
                    break
        return False

    def try_once(self) -> None:
        self._ask(self._reset(self._look).observation)

    def timings(self) -> Timings:
        rendering_s = self._env.rendering_s
        return Timings(self._reset_s, self._simulation_s, rendering_s, self._inference_s, self._chunks)

    def _settle(self) -> Step:
        """Execute the settle steps to let objects come to rest. A success here does not count, as in the reference."""
        count = self._rules.settle_steps
        step = self._reset(() if count else self._look)
        for i in range(count):
            step = self._advance(np.array(self._rules.settle_action), self._look if i + 1 == count else ())
            self.settled += 1
        return step

    def _ask(self, observation: Observation) -> np.ndarray:
        asked = time.perf_counter()
        request = {**observation, "noise_key": seeding.noise_key(self._spec, self._chunks)}
        if self._carry is not None:
            request["carry"] = self._carry
        if self._names_episode:
            spec = self._spec
            request["episode"] = [spec.suite, spec.task_id, spec.trial, spec.seed, len(self.executed)]
        answer = self._policy.infer(request)
        actions = check_actions(answer, self._rules)
        self._carry = answer.get("carry")
        self._chunks += 1
        self._inference_s += time.perf_counter() - asked
        return actions

    def _reset(self, look: Collection[str]) -> Step:
        start = time.perf_counter()
        step = self._env.reset(self._spec, look)
        self._reset_s += time.perf_counter() - start
        return step

    def _advance(self, action: np.ndarray, look: Collection[str]) -> Step:
        start = time.perf_counter()
        step = self._env.step(action, look)
        self.trail.append(footprint(self._env.state_hash()))
        self._simulation_s += time.perf_counter() - start
        return step
