"""Find where two results of one episode first differ."""

import dataclasses

import numpy as np

from pirig.types import EpisodeResult


@dataclasses.dataclass(frozen=True)
class Divergence:
    step: int  # step of the environment, counted from 1, settle steps included; 0: before the first one
    quantity: str  # action, state, end or error
    found: str

    def __str__(self) -> str:
        return f"step {self.step}, {self.quantity}: {self.found}"


def first_divergence(was: EpisodeResult, now: EpisodeResult) -> Divergence | None:
    """Return the first difference, or None if the results are identical.

    The action of a step comes before the state after that step.
    """
    if "error" in (was.status, now.status):
        return None if was.status == now.status else Divergence(0, "error", now.error or was.error)
    parted = [found for found in (_actions(was, now), _states(was, now)) if found is not None]
    if parted:
        return min(parted, key=lambda difference: difference.step)  # of a tie the first one: the action is the cause
    if (was.status, was.steps) != (now.status, now.steps):
        shorter = min(was.steps, now.steps)
        return Divergence(shorter, "end", f"{now.status} after {now.steps} steps, was {was.status} after {was.steps}")
    if was.state_hash != now.state_hash:
        return Divergence(was.steps, "state", "the final state is another one")
    return None


def _actions(was: EpisodeResult, now: EpisodeResult) -> Divergence | None:
    count = min(len(was.actions), len(now.actions))
    # compare bit for bit: -0.0 is not 0.0
    parted = (was.actions[:count].view(np.uint64) != now.actions[:count].view(np.uint64)).any(axis=1)
    if not parted.any():
        return None
    number = int(np.argmax(parted))
    axis = int(np.argmax(was.actions[number].view(np.uint64) != now.actions[number].view(np.uint64)))
    before, after = float(was.actions[number, axis]), float(now.actions[number, axis])
    settle = was.steps - len(was.actions)
    return Divergence(
        settle + number + 1,
        "action",
        f"axis {axis} of action {number} is {after!r}, was {before!r}; equal until then",
    )


def _states(was: EpisodeResult, now: EpisodeResult) -> Divergence | None:
    count = min(len(was.trail), len(now.trail))
    parted = was.trail[:count] != now.trail[:count]
    if not parted.any():
        return None
    return Divergence(int(np.argmax(parted)) + 1, "state", "the state after it is another one; equal until then")
