"""Runs an episode again from its recorded actions, to look at it and to check it.

Episodes are pure functions, so a video need not be decided on, or rendered, while the policy acts.
Law: a replay that leaves the recorded states raises at the first step that does.
"""

from collections.abc import Callable, Collection, Iterator

import numpy as np

from pirig.errors import PirigError
from pirig.evaluation.episode import footprint
from pirig.interfaces import Environment
from pirig.types import EpisodeResult, Rules, Step

_CAMERA = "observation/image"


def frames(result: EpisodeResult, env: Environment, rules: Rules) -> Iterator[np.ndarray]:
    """uint8[H, W, 3] before each executed action, as the reference's evaluator records them.

    Raises PirigError where the replay leaves the recorded states.
    """
    for step in steps(result, env, rules, (_CAMERA,)):
        if _CAMERA in step.observation:
            yield step.observation[_CAMERA]


def pictures(
    result: EpisodeResult, env: Environment, rules: Rules, take: Callable[[], np.ndarray]
) -> Iterator[np.ndarray]:
    """What `take` makes of the scene before each executed action. Raises as `frames`."""
    for i, _ in enumerate(steps(result, env, rules, ())):
        if rules.settle_steps <= i < rules.settle_steps + len(result.actions):
            yield take()


def steps(result: EpisodeResult, env: Environment, rules: Rules, look: Collection[str]) -> Iterator[Step]:
    """The reset and each step, settle steps included. Looks before each executed action, and not at the end.

    Raises PirigError at the first state that is not the recorded one.
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
