"""Relate the number of episodes to the difference in success rate that they can show.

Rates, differences and levels are fractions of 1; levels are two-sided. A pair is one episode of each policy, so that
n pairs cost as many episodes of each policy as an unpaired comparison with n episodes per side.
"""

import math
from collections.abc import Callable

import numpy as np
import scipy

from pirig.results.statistics.paired import tango_score

MOST = 100_000  # largest number of episodes that a search tries


def unpaired_power(n: int, baseline: float, drop: float, level: float = 0.05) -> float:
    """Return the power of the two-sided z test of two proportions with n episodes per side.

    The rates are `baseline` and `baseline - drop`. J. L. Fleiss, "Statistical Methods for Rates and Proportions", 2nd
    ed. (1981), section 3.2, without continuity correction.
    """
    other = baseline - drop
    mean = (baseline + other) / 2
    null = math.sqrt(2 * mean * (1 - mean))
    true = math.sqrt(baseline * (1 - baseline) + other * (1 - other))
    if not true:
        return 1.0 if drop else level
    return float(scipy.special.ndtr((abs(drop) * math.sqrt(n) - scipy.special.ndtri(1 - level / 2) * null) / true))


def paired_power(n: int, drop: float, discordance: float, level: float = 0.05) -> float:
    """Return the power of McNemar's exact test on n pairs.

    `discordance` is the share of pairs in which exactly one policy succeeds. The power is exact: it is summed over the
    number of discordant pairs, which is binomial, and, given that number, over the number of them that each policy wins
    (S. W. Duffy, "Asymptotic and exact power for the McNemar test and its analogue with R controls per case",
    Biometrics 40 (1984) 1005-1015).

    Raises ValueError if `discordance` is less than the difference, which is impossible.
    """
    if not abs(drop) <= discordance <= 1:
        raise ValueError(f"a discordance of {discordance:g} cannot hold a difference of {drop:g}")
    if not discordance:
        return 0.0
    binom = scipy.stats.binom
    low, high = (int(limit) for limit in binom.ppf([1e-12, 1 - 1e-12], n, discordance))
    counts = np.arange(low, high + 1)
    critical = binom.ppf(level / 2, counts, 0.5).astype(int)  # P(X <= c) >= level / 2, so c may be one too large
    critical -= binom.cdf(critical, counts, 0.5) > level / 2
    share = (discordance + abs(drop)) / (2 * discordance)
    rejected = binom.cdf(critical, counts, 1 - share) + binom.cdf(critical, counts, share)
    return float((binom.pmf(counts, n, discordance) * rejected).sum())


def margin_power(n: int, margin: float, discordance: float, level: float = 0.05) -> float:
    """Return the power of n pairs to show that B is not worse than A by `margin`, if there is no difference.

    The test is Tango's, and the sum is exact.
    """
    binom = scipy.stats.binom
    low, high = (int(limit) for limit in binom.ppf([1e-10, 1 - 1e-10], n, discordance))
    counts = np.arange(low, high + 1)[:, None]
    spread = 4 * math.sqrt(high)  # eight standard deviations of the number of pairs that B wins
    only_b = np.arange(max(0, math.floor(low / 2 - spread)), min(high, math.ceil(high / 2 + spread)) + 1)[None, :]
    shown = tango_score(n, counts - only_b, only_b, -margin) >= scipy.special.ndtri(1 - level / 2)
    likely = binom.pmf(counts, n, discordance) * binom.pmf(only_b, counts, 0.5)  # 0 where only_b > counts
    return float(likely[shown].sum())


def independent_discordance(baseline: float, drop: float) -> float:
    """Return the discordance of policies whose successes are independent.

    Policies that find the same episodes hard have a smaller discordance.
    """
    other = baseline - drop
    return baseline * (1 - other) + other * (1 - baseline)


def episodes_needed(power_of: Callable[[int], float], power: float) -> int | None:
    """Return the smallest n with `power_of(n)` of at least `power`, or None above MOST.

    The search doubles n and then bisects. Exact power is not quite monotone in n, by less than one percentage point.
    """
    high = 1
    while power_of(high) < power:
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def detectable(power_of: Callable[[float], float], most: float, power: float) -> float | None:
    """Return the smallest drop up to `most` that has `power`, or None if even `most` has less."""
    if power_of(most) < power:
        return None
    return float(scipy.optimize.brentq(lambda drop: power_of(drop) - power, 1e-9, most, xtol=1e-6))
