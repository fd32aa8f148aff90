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

from typing import Any

import numpy as np

from pirig.sim.boot import Libero
from pirig.types import EpisodeSpec, Seeding


class FixtureSeeding:
    """Resets one built environment (`OffScreenRenderEnv.env`) as a protocol wants it."""

    def __init__(self, problem: Any, libero: Libero, protocol: Seeding):
        self._problem, self._libero, self._protocol = problem, libero, protocol
        self._initializers = list(problem.object_property_initializers)  # one copy, from the constructor
        self._drawn: dict[int, list[tuple[dict, int]]] = {}  # seed -> generator and resets so far, before each trial
        self._compiled: tuple[np.ndarray, np.ndarray] | None = None
        self._watch_compilation()

    def reset(self, spec: EpisodeSpec) -> None:
        if self._protocol == "per-episode":
            np.random.seed(spec.seed + spec.trial)
            resets = 0
        else:
            state, resets = self._before_trial(spec)
            np.random.set_state(state)
        self._try_until_placed(resets, self._problem.reset)

    def _before_trial(self, spec: EpisodeSpec) -> tuple[dict, int]:
        """The generator and the number of resets as the reference has them before this trial's reset."""
        if spec.seed not in self._drawn:
            np.random.seed(spec.seed)
            self._drawn[spec.seed] = [(np.random.get_state(legacy=False), 0)]
        known = self._drawn[spec.seed]
        while len(known) <= spec.trial:
            state, resets = known[-1]
            np.random.set_state(state)
            resets = self._try_until_placed(resets, self._draw_only)
            known.append((np.random.get_state(legacy=False), resets))
        return known[spec.trial]

    def _try_until_placed(self, resets: int, reset: Any) -> int:
        while True:
            self._problem.object_property_initializers = self._initializers * (resets + 1)  # reset adds one more
            resets += 1
            try:
                reset()
            except self._libero.RandomizationError:
                continue
            return resets

    def _draw_only(self) -> None:
        """Draws what a reset draws; after the first, without compiling the model again: 30 ms instead of 2.5 s."""
        problem = self._problem
        if self._compiled is None:
            problem.reset()
            return
        problem.sim.model.body_pos[:], problem.sim.model.body_quat[:] = self._compiled
        problem.object_property_initializers = problem.object_property_initializers + self._initializers
        problem.sim.reset()
        problem.sim.forward()
        problem._reset_internal()

    def _watch_compilation(self) -> None:
        """Keeps the body poses of a freshly compiled model, before the reset overwrites those of the fixtures."""
        compile_model = self._problem._initialize_sim

        def compile_and_note(*args: Any, **kwargs: Any) -> None:
            compile_model(*args, **kwargs)
            model = self._problem.sim.model
            self._compiled = model.body_pos.copy(), model.body_quat.copy()

        self._problem._initialize_sim = compile_and_note
