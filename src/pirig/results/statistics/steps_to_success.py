"""Time to success: the steps that successes took, settle steps included.

A failure has no time to success, so this says how fast what succeeds is, not how good a policy is. Two policies are
compared on the trials that both succeed at; otherwise one that gives up on hard trials looks fast.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import scipy

from pirig.types import EpisodeResult


@dataclasses.dataclass(frozen=True)
class Steps:
    """Quartiles; NaN where nothing is counted."""

    count: int
    lower: float  # quartile
    median: float
    upper: float  # quartile


def time_to_success(results: Iterable[EpisodeResult]) -> Steps:
    return _quartiles([result.steps for result in results if result.status == "success"])


@dataclasses.dataclass(frozen=True)
class StepsDifference:
    """On trials that both succeed at: steps of A, of B, and of B minus those of A trial by trial."""

    a: Steps
    b: Steps
    difference: Steps
    p: float  # that the differences lie symmetrically about 0; NaN where none differs


def compare_time(pairs: Iterable[tuple[EpisodeResult, EpisodeResult]]) -> StepsDifference:
    """Of (A, B). F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945) 80-83."""
    both = [(a.steps, b.steps) for a, b in pairs if a.status == b.status == "success"]
    apart = [b - a for a, b in both]
    p = float(scipy.stats.wilcoxon(apart, zero_method="wilcox").pvalue) if any(apart) else float("nan")
    return StepsDifference(_quartiles([a for a, _ in both]), _quartiles([b for _, b in both]), _quartiles(apart), p)


def _quartiles(steps: Sequence[int]) -> Steps:
    if not steps:
        return Steps(0, float("nan"), float("nan"), float("nan"))
    lower, median, upper = np.percentile(steps, [25, 50, 75])
    return Steps(len(steps), float(lower), float(median), float(upper))
