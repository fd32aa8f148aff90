"""Our row beside the published one: is a difference more than chance?

The published rates are counts of 500 episodes a suite (98.8 % of 500 are 494, and so on), one run of one checkpoint.
So both sides are uncertain: a rate is consistent with the published one where the 95 % interval of the difference
holds 0. Each suite is judged by itself; of four suites that are all equal, one is out of place in every fifth table.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from pirig.results.intervals import Estimate, linear
from pirig.results.summary import PUBLISHED, SuiteRow

EPISODES = 500  # of a published rate: 10 tasks x 50 trials
CONFIDENCE = 0.95
Verdict = Literal["below", "consistent", "above"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """`difference`: ours minus published."""

    difference: Estimate
    verdict: Verdict
    confidence: float = CONFIDENCE


def place(suite: str, successes: int, scored: int, confidence: float = CONFIDENCE) -> Placement | None:
    """Of one suite; None where nothing is published or scored. Newcombe's interval of a difference, see `linear`."""
    if suite not in PUBLISHED or not scored:
        return None
    return _judge(linear([(successes, scored), _published(suite)], [1, -1], confidence), confidence)


def place_average(rows: Sequence[SuiteRow], confidence: float = CONFIDENCE) -> Placement | None:
    """Of the mean of the four suites; None unless all are there and complete."""
    by_suite = {row.suite: row for row in rows if row.complete}
    if not PUBLISHED.keys() <= by_suite.keys():
        return None
    ours = [(by_suite[suite].successes, by_suite[suite].scored) for suite in PUBLISHED]
    share = 1 / len(PUBLISHED)
    weights = [share] * len(ours) + [-share] * len(ours)
    return _judge(linear(ours + [_published(suite) for suite in PUBLISHED], weights, confidence), confidence)


def _published(suite: str) -> tuple[int, int]:
    return round(PUBLISHED[suite] / 100 * EPISODES), EPISODES


def _judge(difference: Estimate, confidence: float) -> Placement:
    verdict: Verdict = "below" if difference.high < 0 else "above" if difference.low > 0 else "consistent"
    return Placement(difference, verdict, confidence)
