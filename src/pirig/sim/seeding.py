"""Where fixtures stand: LIBERO draws their poses from NumPy's global generator at each reset.

`set_init_state` restores joint positions only, so in 88 of the 130 tasks the stove, cabinet or rack stands up to
2 cm elsewhere from one reset to the next. Two protocols make that a pure function of the episode:

    per-episode   the scene of a new environment that is seeded with seed + trial and reset once
    openpi        the scene of the reference's evaluator: seeded once per task, reset once per trial, so that
                  trial k shows what the draws of resets 0 … k leave behind

Law: in any order, after any other episode, bit for bit.

Two details of LIBERO count. A reset of a built environment appends another copy of its open/close initializers to a
list that the next resets draw from, so the k-th reset (from 0) draws from k + 2 copies. And a reset that finds no
valid placement raises and is tried again, which is one more reset.
"""

from collections.abc import Callable

import numpy as np

from pirig.sim.boot import Libero
from pirig.sim.building import Built
from pirig.types import EpisodeSpec, Seeding


class FixtureSeeding:
    """Resets one built environment as a protocol wants it."""

    def __init__(self, built: Built, libero: Libero, protocol: Seeding, *, compiles: bool):
        """`compiles`: reset as LIBERO does, compiling the model again; else by `Built.restart`."""
        self._built, self._libero, self._protocol, self._compiles = built, libero, protocol, compiles
        self._initializers = list(built.problem.object_property_initializers)  # one copy, from the constructor
        self._drawn: dict[int, list[tuple[dict, int]]] = {}  # seed -> generator and resets so far, before each trial

    def reset(self, spec: EpisodeSpec) -> None:
        if self._protocol == "per-episode":
            np.random.seed(spec.seed + spec.trial)
            resets = 0
        else:
            state, resets = self._before_trial(spec)
            np.random.set_state(state)
        self._try_until_placed(resets, self._compile if self._compiles else self._restart)

    def _before_trial(self, spec: EpisodeSpec) -> tuple[dict, int]:
        """The generator and the number of resets as the reference has them before this trial's reset."""
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
