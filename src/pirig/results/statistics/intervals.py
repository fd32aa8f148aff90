"""Compute intervals for sums and differences of rates, and for averages over tasks that differ.

Two functions answer two questions. `linear` is about further episodes of the same tasks, which is the question of a
comparison of policies on the same tasks. `clustered` is about further tasks like these; its interval is wider, because
forty tasks are forty draws and not two thousand.
"""

import dataclasses
import math
from collections.abc import Sequence

import scipy

from pirig.results.statistics.tally import wilson

Count = tuple[int, int]
"""The number of successes and the number of scored episodes."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An `Estimate` is a value with its interval, as fractions of 1."""

    value: float
    low: float
    high: float


def linear(counts: Sequence[Count], weights: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Estimate sum(weight x rate) over independent counts.

    A difference has weights 1 and -1, an average 1 / k each. The method is that of G. Y. Zou, W. Huang, X. Zhang, "A
    note on confidence interval estimation for a linear function of binomial proportions", Computational Statistics &
    Data Analysis 53 (2009) 1080-1085, with Wilson's limits. For a difference it is method 10 of R. G. Newcombe,
    Statistics in Medicine 17 (1998) 873-890.

    Raises ValueError for an empty count.
    """
    if any(n == 0 for _, n in counts):
        raise ValueError("a rate without scored episodes has no interval")
    value = below = above = 0.0
    for (successes, n), weight in zip(counts, weights, strict=True):
        rate = successes / n
        low, high = wilson(successes, n, confidence)
        down, up = (low, high) if weight >= 0 else (high, low)
        value += weight * rate
        below += (weight * (rate - down)) ** 2
        above += (weight * (rate - up)) ** 2
    least, most = sum(min(w, 0.0) for w in weights), sum(max(w, 0.0) for w in weights)
    return Estimate(value, max(value - math.sqrt(below), least), min(value + math.sqrt(above), most))


def clustered(suites: Sequence[Sequence[Count]], confidence: float = 0.95) -> Estimate:
    """Estimate the mean of the suites' rates, with the tasks of each suite treated as a sample of clusters.

    `suites`: for each suite, the counts by task.

    The interval is Wilson's at the effective sample size of E. L. Korn, B. I. Graubard, "Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24 (1998)
    193-201: n* = p (1 - p) / V (z / t)^2, not above n (z / t)^2, where V is the variance of a ratio between clusters
    within strata (W. G. Cochran, "Sampling Techniques", 3rd ed. 1977, section 11.8) and t has tasks - suites degrees of
    freedom. For the choice of Wilson instead of Clopper-Pearson see N. Dean, M. Pagano, "Evaluating confidence interval
    methods for binomial proportions in clustered surveys", Journal of Survey Statistics and Methodology 3 (2015)
    484-503.

    A suite with one scored task contributes its binomial variance. Raises ValueError if a suite has no scored episode.
    """
    value = variance = 0.0
    total = freedom = 0
    for tasks in suites:
        scored = [(x, n) for x, n in tasks if n]
        n = sum(n for _, n in scored)
        if not n:
            raise ValueError("a suite without scored episodes has no average")
        rate = sum(x for x, _ in scored) / n
        value += rate / len(suites)
        variance += _ratio_variance(scored, rate, n) / len(suites) ** 2
        total, freedom = total + n, freedom + len(scored) - 1
    z = scipy.special.ndtri((1 + confidence) / 2)
    effective = min(value * (1 - value) / variance, total) if variance else total
    if freedom:
        effective *= (z / scipy.special.stdtrit(freedom, (1 + confidence) / 2)) ** 2
    return Estimate(value, *wilson(value * effective, effective, confidence))


def _ratio_variance(tasks: Sequence[Count], rate: float, n: int) -> float:
    if len(tasks) == 1:
        return rate * (1 - rate) / n
    return len(tasks) / (len(tasks) - 1) * sum((x - rate * m) ** 2 for x, m in tasks) / n**2
