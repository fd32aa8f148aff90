"""Runs an episode again from its recorded actions, to look at it.

Episodes are pure functions, so a video need not be decided on, or rendered, while the policy acts.
"""

from collections.abc import Iterator

import numpy as np

from pirig.errors import PirigError
from pirig.interfaces import Environment
from pirig.types import EpisodeResult, Rules

_CAMERA = "observation/image"


def frames(result: EpisodeResult, env: Environment, rules: Rules) -> Iterator[np.ndarray]:
    """uint8[H, W, 3] before each executed action, as the reference's evaluator records them.

    Raises PirigError when the replay does not end in the recorded state.
    """
    settle = np.array(rules.settle_action)
    step = env.reset(result.spec, () if rules.settle_steps else (_CAMERA,))
    for i in range(rules.settle_steps):
        step = env.step(settle, (_CAMERA,) if i + 1 == rules.settle_steps else ())
    for action in result.actions:
        yield step.observation[_CAMERA]
        step = env.step(action, (_CAMERA,))
    if env.state_hash() != result.state_hash:
        raise PirigError(f"{result.spec.key}: the replay ended in another state than the episode")
