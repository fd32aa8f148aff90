"""Run an episode again from its recorded actions, to render and to check it.

Episodes are pure functions, so a video need be neither chosen nor rendered while the policy acts.

Law 1: A replay raises an error at the first step whose state differs from the recorded one.
"""

from collections.abc import Callable, Collection, Iterator

import numpy as np

from pirig.errors import PirigError
from pirig.evaluation.episode import footprint
from pirig.interfaces import Environment
from pirig.types import EpisodeResult, Rules, Step

_CAMERA = "observation/image"


def frames(result: EpisodeResult, env: Environment, rules: Rules) -> Iterator[np.ndarray]:
    """Yield the camera image before each executed action, uint8[H, W, 3], as the reference's evaluator records it.

    Raises PirigError at the first state that differs from the recorded one.
    """
    for step in steps(result, env, rules, (_CAMERA,)):
        if _CAMERA in step.observation:
            yield step.observation[_CAMERA]


def pictures(
    result: EpisodeResult, env: Environment, rules: Rules, take: Callable[[], np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield what `take` returns before each executed action. Raises as `frames` does."""
    for i, _ in enumerate(steps(result, env, rules, ())):
        if rules.settle_steps <= i < rules.settle_steps + len(result.actions):
            yield take()


def steps(result: EpisodeResult, env: Environment, rules: Rules, look: Collection[str]) -> Iterator[Step]:
    """Yield the reset and each step, settle steps included.

    The keys `look` are observed before each executed action, but not after the last one. Raises PirigError at the first
    state that differs from the recorded one.
    """
    settle = [np.array(rules.settle_action)] * rules.settle_steps
    actions = [*settle, *result.actions]
    first_look = len(settle)

    def seen(number: int) -> Collection[str]:
        return look if first_look <= number < len(actions) else ()

    yield env.reset(result.spec, seen(0))
    for number, action in enumerate(actions, start=1):
        step = env.step(action, seen(number))
        if number <= len(result.trail) and footprint(env.state_hash()) != result.trail[number - 1]:
            raise PirigError(
                f"{result.spec.key}: the state after step {number} of {result.steps} is not the recorded one; the "
                "record was changed, or was made with another simulator, seeding protocol or version"
            )
        yield step
    if env.state_hash() != result.state_hash:
        raise PirigError(f"{result.spec.key}: the replay ended in another state than the episode")
