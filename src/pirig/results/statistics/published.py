"""Our row beside the published one: is a difference more than chance?

The published rates are counts of 500 episodes a suite (98.8 % of 500 are 494, and so on), one run of one checkpoint.
So both sides are uncertain: a rate is consistent with the published one where the 95 % interval of the difference
holds 0. Each suite is judged by itself; of four suites that are all equal, one is out of place in every fifth table.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from pirig.results.statistics.intervals import Count, Estimate, linear

PUBLISHED: Mapping[str, float] = {  # openpi, examples/libero/README.md: π0.5 after 30k steps of fine-tuning, percent
    "libero_spatial": 98.8,
    "libero_object": 98.2,
    "libero_goal": 98.0,
    "libero_10": 92.4,
}
PUBLISHED_AVERAGE = 96.85
EPISODES = 500  # of a published rate: 10 tasks x 50 trials
CONFIDENCE = 0.95
Standing = Literal["below", "consistent", "above"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """`difference`: ours minus published."""

    difference: Estimate
    verdict: Standing
    confidence: float = CONFIDENCE


def place(suite: str, successes: int, scored: int, confidence: float = CONFIDENCE) -> Placement | None:
    """Of one suite; None where nothing is published or scored. Newcombe's interval of a difference, see `linear`."""
    if suite not in PUBLISHED or not scored:
        return None
    return _judge(linear([(successes, scored), _published(suite)], [1, -1], confidence), confidence)


def place_average(counts: Mapping[str, Count], confidence: float = CONFIDENCE) -> Placement | None:
    """Compare the mean of the four suites with the published one. None unless `counts` has all four.

    `counts`: by suite, successes and scored episodes of a complete run.
    """
    if not PUBLISHED.keys() <= counts.keys():
        return None
    ours = [counts[suite] for suite in PUBLISHED]
    share = 1 / len(PUBLISHED)
    weights = [share] * len(ours) + [-share] * len(ours)
    return _judge(linear(ours + [_published(suite) for suite in PUBLISHED], weights, confidence), confidence)


def _published(suite: str) -> tuple[int, int]:
    return round(PUBLISHED[suite] / 100 * EPISODES), EPISODES


def _judge(difference: Estimate, confidence: float) -> Placement:
    verdict: Standing = "below" if difference.high < 0 else "above" if difference.low > 0 else "consistent"
    return Placement(difference, verdict, confidence)
