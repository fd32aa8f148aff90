"""Decide when a comparison may stop before its plan is complete, with a paired test that may be evaluated at any time.

Rule 1: Everything is declared before the first episode: the run to compare with, the margin, the level, the order.
Rule 2: Episodes count in the declared order, not in the order in which they end. A success ends an episode early and a
    failure ends it only at the step limit, so the episodes that end first contain more successes than the plan does; a
    test on them would favour whichever policy is new. An episode that ends out of order waits until all episodes
    before it have ended.
Rule 3: The order consists of blocks, each with one trial of every task; trials are shuffled by a seed. The test is
    evaluated only at the ends of whole blocks, where every task has had equally many trials, so that
    differences in difficulty between tasks do no harm.
Rule 4: Errors are not outcomes. A block that contains an error is not complete until the episode has been run again.

The test is a bet against the null hypothesis "the mean of z, B's success minus A's, is at most -margin". It starts
with wealth 1 and wins the fraction f (z + margin) of its wealth in each pair. Under the null hypothesis no bet gains
on average at the ends of blocks: the product over a block of 1 + f (mean of task + margin) is at most (1 + f (mean of
all + margin))^tasks <= 1, because a geometric mean is at most the arithmetic mean. So wealth is a nonnegative
supermartingale, and the probability that it ever reaches 1 / alpha is at most alpha (J. Ville, "Etude critique de la
notion de collectif", 1939). Several fractions are bet at once, each with an equal part of the wealth. I. Waudby-Smith,
A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024) 1-27. The test assumes that a
task's trials are independent draws.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pirig.types import EpisodeSpec

METHOD = "betting, blocks of a trial of each task, Ville's inequality"
_FRACTIONS = np.geomspace(0.1, 0.9, 8)  # of the largest allowed bet; chosen to suit some hundred pairs best
Answer = Literal["better", "worse", "non-inferior", "inferior"]


@dataclasses.dataclass(frozen=True)
class Declaration:
    """A `Declaration` is written into the manifest before the first episode."""

    against: str  # name of run A
    margin: float = 0.0  # a fraction of 1; with 0 the question is whether B is better or worse
    level: float = 0.05  # two-sided: each wrong answer has a probability of at most level / 2
    order_seed: int = 7
    method: str = METHOD


def declared_order(specs: Iterable[EpisodeSpec], seed: int) -> list[list[EpisodeSpec]]:
    """Return the specs in blocks of one trial of each task.

    Each task's trials are shuffled, and each block takes one trial of each task, with its tasks in a newly drawn order.
    The result depends only on the set of specs and the seed. Raises ValueError if tasks have different numbers of
    trials.
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
    """A `Look` summarizes the complete blocks so far."""

    wins: int  # pairs in which B alone succeeded
    losses: int
    pairs: int
    wealth_above: float  # against "B - A is at most -margin"
    wealth_below: float  # against "B - A is at least -margin"


class SequentialTest:
    """A `SequentialTest` accepts outcomes in any order, and finds the one answer that the declared order gives.

    Run A is finished: `outcomes_a` has an outcome for every episode of the plan.
    """

    def __init__(
        self, declaration: Declaration, blocks: Sequence[Sequence[EpisodeSpec]], outcomes_a: Mapping[EpisodeSpec, bool]
    ):
        self.declaration, self._blocks = declaration, blocks
        self._a, self._b = outcomes_a, dict[EpisodeSpec, bool]()
        self._whole = 0  # number of blocks that have been evaluated
        self._wins = self._losses = self._pairs = 0
        self.answer: Answer | None = None

    @property
    def order(self) -> list[EpisodeSpec]:
        """Return all episodes in the declared order."""
        return [spec for block in self._blocks for spec in block]

    def feed(self, spec: EpisodeSpec, success: bool) -> Answer | None:
        """Record B's outcome of an episode of the plan, and return the answer.

        The answer is None until it is found, and does not change afterwards.
        """
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
        """Return the state at the end of the last complete block, or where the answer was found."""
        margin = self.declaration.margin
        above = wealth(self._wins, self._losses, self._pairs, -margin)
        below = wealth(self._losses, self._wins, self._pairs, margin)
        return Look(self._wins, self._losses, self._pairs, float(above), float(below))

    def interval(self) -> tuple[float, float]:
        """Return the interval of B - A, anytime-valid at 1 - level, to 0.1 points.

        It contains all differences that neither bet has refuted.
        """
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
    """Return the wealth of bets that the mean of z is above `null`, elementwise.

    The arguments are the numbers of wins (z = 1), losses (z = -1) and pairs, ties included. A fraction below
    1 / (1 + null) can never lose everything.
    """
    wins, losses, pairs, null = (np.asarray(x, float)[..., None] for x in (wins, losses, pairs, null))
    fraction = _FRACTIONS / (1 + null)
    log = (
        wins * np.log1p(fraction * (1 - null))
        + losses * np.log1p(fraction * (-1 - null))
        + (pairs - wins - losses) * np.log1p(-fraction * null)
    )
    return np.exp(np.minimum(log, 600)).mean(-1)  # avoids overflow, at a wealth that is conclusive anyway


def in_words(test: SequentialTest) -> str:
    """Describe the answer and what it is based on; return an empty string while there is no answer."""
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
