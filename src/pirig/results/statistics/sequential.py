"""When may a comparison stop before its plan is done? A paired test that may be looked at as often as one likes.

Rule 1: everything is declared before the first episode: the run to compare with, the margin, the level, the order.
Rule 2: episodes count in the declared order, not in the order in which they end. A success ends an episode early and a
    failure only at the step limit, so what has ended first is richer in successes than the plan is; a test on it would
    favour whichever policy is new. What ended out of order waits until all before it is there.
Rule 3: the order is one of blocks, each with a trial of every task, trials shuffled by a seed. The test looks at the
    ends of whole blocks only, where every task has had its share: then tasks of any difficulty do no harm.
Rule 4: errors are no outcomes. A block with an error in it is not whole, until the episode has been run again.

The test is a bet against the null hypothesis "the mean of z, B's success minus A's, is at most -margin": of wealth 1
the fraction f (z + margin) is won in each pair. Under the null no bet gains on the average, at the ends of blocks: the
product over a block of 1 + f (mean of task + margin) is at most (1 + f (mean of all + margin))^tasks <= 1, as a
geometric mean is at most the arithmetic one. So wealth is a nonnegative supermartingale, and it ever reaches 1 / alpha
with probability alpha at most (J. Ville, "Etude critique de la notion de collectif", 1939). Several fractions are bet
at once, each with an equal part of the wealth. I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 86 (2024) 1-27. It is assumed that a task's trials are independent draws.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pirig.types import EpisodeSpec

METHOD = "betting, blocks of a trial of each task, Ville's inequality"
_FRACTIONS = np.geomspace(0.1, 0.9, 8)  # of the most that may be bet: what suits some hundred pairs best
Answer = Literal["better", "worse", "non-inferior", "inferior"]


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What is written into the manifest before the first episode."""

    against: str  # name of run A
    margin: float = 0.0  # a fraction of 1; with 0: is B better or worse?
    level: float = 0.05  # two-sided: each wrong answer has probability level / 2 at most
    order_seed: int = 7
    method: str = METHOD


def declared_order(specs: Iterable[EpisodeSpec], seed: int) -> list[list[EpisodeSpec]]:
    """Blocks: each task's trials shuffled, then a trial of each task per block, tasks in an order drawn anew.

    Depends on the set of specs and the seed alone. Raises ValueError where tasks have different numbers of trials.
    """
    by_task: dict[int, list[EpisodeSpec]] = {}
    for spec in sorted(specs):
        by_task.setdefault(spec.task_id, []).append(spec)
    if len({len(trials) for trials in by_task.values()}) > 1:
        raise ValueError("tasks have different numbers of trials, so there are no blocks with one of each")
    rng = np.random.default_rng(seed)
    columns = [[trials[i] for i in rng.permutation(len(trials))] for trials in by_task.values()]
    return [[row[i] for i in rng.permutation(len(row))] for row in zip(*columns, strict=True)]


@dataclasses.dataclass(frozen=True)
class Look:
    """What the whole blocks so far say."""

    wins: int  # pairs in which B alone succeeded
    losses: int
    pairs: int
    wealth_above: float  # against "B - A is at most -margin"
    wealth_below: float  # against "B - A is at least -margin"


class SequentialTest:
    """Fed with outcomes in any order; says at which answer the declared order arrives, once and for all.

    A is finished: `outcomes_a` has a score for every episode of the plan.
    """

    def __init__(
        self, declaration: Declaration, blocks: Sequence[Sequence[EpisodeSpec]], outcomes_a: Mapping[EpisodeSpec, bool]
    ):
        self.declaration, self._blocks = declaration, blocks
        self._a, self._b = outcomes_a, dict[EpisodeSpec, bool]()
        self._whole = 0  # blocks that have been looked at
        self._wins = self._losses = self._pairs = 0
        self.answer: Answer | None = None

    @property
    def order(self) -> list[EpisodeSpec]:
        """All episodes, as declared."""
        return [spec for block in self._blocks for spec in block]

    def feed(self, spec: EpisodeSpec, success: bool) -> Answer | None:
        """B's outcome of an episode of the plan. Returns the answer from then on, None while there is none."""
        self._b[spec] = success
        while self.answer is None and self._whole < len(self._blocks):
            block = self._blocks[self._whole]
            if any(spec not in self._b for spec in block):
                break
            won = [int(self._b[spec]) - int(self._a[spec]) for spec in block]
            self._wins, self._losses = self._wins + won.count(1), self._losses + won.count(-1)
            self._pairs, self._whole = self._pairs + len(won), self._whole + 1
            self.answer = self._answer()
        return self.answer

    @property
    def look(self) -> Look:
        """At the end of the last whole block, or where the answer was found."""
        margin = self.declaration.margin
        above = wealth(self._wins, self._losses, self._pairs, -margin)
        below = wealth(self._losses, self._wins, self._pairs, margin)
        return Look(self._wins, self._losses, self._pairs, float(above), float(below))

    def interval(self) -> tuple[float, float]:
        """Of B - A, anytime-valid at 1 - level: all differences that neither bet has refuted. To 0.1 points."""
        nulls = np.linspace(-0.999, 0.999, 1999)
        limit = 2 / self.declaration.level
        above = wealth(self._wins, self._losses, self._pairs, nulls) >= limit
        below = wealth(self._losses, self._wins, self._pairs, -nulls) >= limit
        held = nulls[~above & ~below]
        return (float(held[0]), float(held[-1])) if len(held) else (math.nan, math.nan)

    def _answer(self) -> Answer | None:
        look, limit = self.look, 2 / self.declaration.level
        if look.wealth_above >= limit:
            return "non-inferior" if self.declaration.margin else "better"
        if look.wealth_below >= limit:
            return "inferior" if self.declaration.margin else "worse"
        return None


def wealth(wins: Any, losses: Any, pairs: Any, null: Any) -> np.ndarray:
    """Of bets that the mean of z is above `null`, after so many wins (z = 1), losses (z = -1) and ties; elementwise.

    A fraction below 1 / (1 + null) can never lose all.
    """
    wins, losses, pairs, null = (np.asarray(x, float)[..., None] for x in (wins, losses, pairs, null))
    fraction = _FRACTIONS / (1 + null)
    log = (
        wins * np.log1p(fraction * (1 - null))
        + losses * np.log1p(fraction * (-1 - null))
        + (pairs - wins - losses) * np.log1p(-fraction * null)
    )
    return np.exp(np.minimum(log, 600)).mean(-1)  # beyond that, floats end and doubt has long ended


def in_words(test: SequentialTest) -> str:
    """The answer and what it rests on. Empty while there is none."""
    if test.answer is None:
        return ""
    declared, look = test.declaration, test.look
    points = f"{100 * declared.margin:g} points"
    answers: dict[Answer, str] = {
        "better": f"better than {declared.against}",
        "worse": f"worse than {declared.against}",
        "non-inferior": f"not worse than {declared.against} by {points} or more",
        "inferior": f"worse than {declared.against} by more than {points}",
    }
    low, high = test.interval()
    return (
        f"{answers[test.answer]} (declared level {declared.level:g}, {look.pairs} pairs in the declared order, "
        f"{look.wins} won and {look.losses} lost; interval valid at any time "
        f"{100 * low:+.1f} to {100 * high:+.1f} points)"
    )
