"""Evaluate the time to success: the steps that successes take, settle steps included.

A failure has no time to success, so this measures how fast successful episodes are, not how good a policy is. Two
policies are compared on the trials in which both succeed; otherwise a policy that gives up on hard trials looks fast.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import scipy

from pirig.types import EpisodeResult


@dataclasses.dataclass(frozen=True)
class Steps:
    """`Steps` holds the quartiles of step counts, which are NaN if nothing is counted."""

    count: int
    lower: float  # quartile
    median: float
    upper: float  # quartile


def time_to_success(results: Iterable[EpisodeResult]) -> Steps:
    return _quartiles([result.steps for result in results if result.status == "success"])


@dataclasses.dataclass(frozen=True)
class StepsDifference:
    """`StepsDifference` describes the trials in which both succeed: steps of A, of B, and B minus A by trial."""

    a: Steps
    b: Steps
    difference: Steps
    p: float  # p value of the hypothesis that the differences are symmetric about 0; NaN if none differs


def compare_time(pairs: Iterable[tuple[EpisodeResult, EpisodeResult]]) -> StepsDifference:
    """Compare the times to success of pairs (A, B) with Wilcoxon's signed-rank test.

    F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945) 80-83.
    """
    both = [(a.steps, b.steps) for a, b in pairs if a.status == b.status == "success"]
    apart = [b - a for a, b in both]
    p = float(scipy.stats.wilcoxon(apart, zero_method="wilcox").pvalue) if any(apart) else float("nan")
    return StepsDifference(_quartiles([a for a, _ in both]), _quartiles([b for _, b in both]), _quartiles(apart), p)


def _quartiles(steps: Sequence[int]) -> Steps:
    if not steps:
        return Steps(0, float("nan"), float("nan"), float("nan"))
    lower, median, upper = np.percentile(steps, [25, 50, 75])
    return Steps(len(steps), float(lower), float(median), float(upper))
