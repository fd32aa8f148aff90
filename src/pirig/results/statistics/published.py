"""Test whether our success rates differ from the published ones by more than chance.

The published rates are counts of 500 episodes per suite (98.8 % of 500 are 494, and so on), from one run of one
checkpoint. Both sides are therefore uncertain: a rate is consistent with the published one if the 95 % interval of the
difference contains 0. Each suite is judged by itself; if all four suites are equal in truth, one of them is judged
different in every fifth table.
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
EPISODES = 500  # per published rate: 10 tasks x 50 trials
CONFIDENCE = 0.95
Standing = Literal["below", "consistent", "above"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """A `Placement` is the difference from the published rate (ours minus published) with its verdict."""

    difference: Estimate
    verdict: Standing
    confidence: float = CONFIDENCE


def place(suite: str, successes: int, scored: int, confidence: float = CONFIDENCE) -> Placement | None:
    """Compare one suite's success rate with the published one.

    Returns None if nothing is published or scored. The interval of the difference is Newcombe's, see `linear`.
    """
    if suite not in PUBLISHED or not scored:
        return None
    return _judge(linear([(successes, scored), _published(suite)], [1, -1], confidence), confidence)


def place_average(counts: Mapping[str, Count], confidence: float = CONFIDENCE) -> Placement | None:
    """Compare the mean of the four suites with the published one.

    `counts`: successes and scored episodes of complete runs, by suite. Returns None unless it has all four suites.
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
