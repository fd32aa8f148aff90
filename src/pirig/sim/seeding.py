"""Determine the poses of fixtures, which LIBERO draws from NumPy's global generator at each reset.

`set_init_state` restores only joint positions, so in 88 of the 130 tasks the position of the stove, cabinet or rack
differs by up to 2 cm from one reset to the next. Two protocols make the poses a pure function of the episode:

    per-episode   the scene of a new environment that is seeded with seed + trial and reset once
    openpi        the scene of the reference evaluator, which is seeded once per task and reset once per trial, so
                  that trial k has what the draws of resets 0 … k produce

Law: The poses are the same bit for bit in any order of episodes, after any other episode.

Two details of LIBERO matter. A reset of a built environment appends another copy of its open/close initializers to a
list that the next resets draw from, so the k-th reset (from 0) draws from k + 2 copies. And a reset that finds no
valid placement raises an exception and is retried, which is one more reset.
"""

from collections.abc import Callable

import numpy as np

from pirig.sim.boot import Libero
from pirig.sim.building import Built
from pirig.types import EpisodeSpec, Seeding


class FixtureSeeding:
    """A `FixtureSeeding` object resets one built environment according to a protocol."""

    def __init__(self, built: Built, libero: Libero, protocol: Seeding, *, compiles: bool):
        """Prepare to reset `built`.

        `compiles`: reset as LIBERO does, by compiling the model again; otherwise reset by `Built.restart`.
        """
        self._built, self._libero, self._protocol, self._compiles = built, libero, protocol, compiles
        self._initializers = list(built.problem.object_property_initializers)  # one copy, from the constructor
        self._drawn: dict[int, list[tuple[dict, int]]] = {}  # seed -> generator state and resets before each trial

    def reset(self, spec: EpisodeSpec) -> None:
        if self._protocol == "per-episode":
            np.random.seed(spec.seed + spec.trial)
            resets = 0
        else:
            state, resets = self._before_trial(spec)
            np.random.set_state(state)
        self._try_until_placed(resets, self._compile if self._compiles else self._restart)

    def _before_trial(self, spec: EpisodeSpec) -> tuple[dict, int]:
        """Return the generator state and the number of resets that the reference has before this trial's reset."""
        if spec.seed not in self._drawn:
            np.random.seed(spec.seed)
            self._drawn[spec.seed] = [(np.random.get_state(legacy=False), 0)]
        known = self._drawn[spec.seed]
        while len(known) <= spec.trial:
            state, resets = known[-1]
            np.random.set_state(state)
            resets = self._try_until_placed(resets, self._restart)
            known.append((np.random.get_state(legacy=False), resets))
        return known[spec.trial]

    def _try_until_placed(self, resets: int, reset: Callable[[int], None]) -> int:
        while True:
            resets += 1
            try:
                reset(resets)
            except self._libero.RandomizationError:
                continue
            return resets

    def _compile(self, copies: int) -> None:
        self._built.problem.object_property_initializers = self._initializers * copies  # the reset adds one more
        self._built.problem.reset()

    def _restart(self, copies: int) -> None:
        self._built.problem.object_property_initializers = self._initializers * (copies + 1)
        self._built.restart()
