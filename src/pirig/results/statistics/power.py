"""How many episodes show a difference, and which difference do so many episodes show?

Rates, differences and levels are fractions of 1; levels are two-sided. A pair is one episode by each policy, so that
n pairs cost as many episodes of each policy as an unpaired comparison with n episodes a side.
"""

import math
from collections.abc import Callable

import numpy as np
import scipy

from pirig.results.statistics.paired import tango_score

MOST = 100_000  # episodes that a search goes to


def unpaired_power(n: int, baseline: float, drop: float, level: float = 0.05) -> float:
    """Of the two-sided z test of two proportions, n episodes a side, the rates being `baseline` and `baseline - drop`.

    J. L. Fleiss, "Statistical Methods for Rates and Proportions", 2nd ed. (1981), section 3.2, without continuity
    correction.
    """
    other = baseline - drop
    mean = (baseline + other) / 2
    null = math.sqrt(2 * mean * (1 - mean))
    true = math.sqrt(baseline * (1 - baseline) + other * (1 - other))
    if not true:
        return 1.0 if drop else level
    return float(scipy.special.ndtr((abs(drop) * math.sqrt(n) - scipy.special.ndtri(1 - level / 2) * null) / true))


def paired_power(n: int, drop: float, discordance: float, level: float = 0.05) -> float:
    """Of McNemar's exact test on n pairs, `discordance` being the share of pairs in which one policy alone succeeds.

    Exact: summed over the number of discordant pairs, which is binomial, and, given that, over who wins them (S. W.
    Duffy, "Asymptotic and exact power for the McNemar test and its analogue with R controls per case", Biometrics 40
    (1984) 1005-1015). Raises ValueError where `discordance` is less than the difference, which cannot be.
    """
    if not abs(drop) <= discordance <= 1:
        raise ValueError(f"a discordance of {discordance:g} cannot hold a difference of {drop:g}")
    if not discordance:
        return 0.0
    binom = scipy.stats.binom
    low, high = (int(limit) for limit in binom.ppf([1e-12, 1 - 1e-12], n, discordance))
    counts = np.arange(low, high + 1)
    critical = binom.ppf(level / 2, counts, 0.5).astype(int)  # P(X <= c) >= level / 2, so c itself is one too many
    critical -= binom.cdf(critical, counts, 0.5) > level / 2
    share = (discordance + abs(drop)) / (2 * discordance)
    rejected = binom.cdf(critical, counts, 1 - share) + binom.cdf(critical, counts, share)
    return float((binom.pmf(counts, n, discordance) * rejected).sum())


def margin_power(n: int, margin: float, discordance: float, level: float = 0.05) -> float:
    """That n pairs show B to be no worse than A by `margin`, where there is no difference: Tango's test, exact sum."""
    binom = scipy.stats.binom
    low, high = (int(limit) for limit in binom.ppf([1e-10, 1 - 1e-10], n, discordance))
    counts = np.arange(low, high + 1)[:, None]
    spread = 4 * math.sqrt(high)  # eight standard deviations of who wins
    only_b = np.arange(max(0, math.floor(low / 2 - spread)), min(high, math.ceil(high / 2 + spread)) + 1)[None, :]
    shown = tango_score(n, counts - only_b, only_b, -margin) >= scipy.special.ndtri(1 - level / 2)
    likely = binom.pmf(counts, n, discordance) * binom.pmf(only_b, counts, 0.5)  # 0 where only_b > counts
    return float(likely[shown].sum())


def independent_discordance(baseline: float, drop: float) -> float:
    """Of policies whose successes have nothing to do with each other: more than of those that find the same hard."""
    other = baseline - drop
    return baseline * (1 - other) + other * (1 - baseline)


def episodes_needed(power_of: Callable[[int], float], power: float) -> int | None:
    """Fewest n from which on doubling steps and bisection find `power_of(n)` at least `power`; None above MOST.

    Exact power is not quite monotone in n, by less than a point.
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
    """Smallest drop with `power`, of those up to `most`; None where even that has less."""
    if power_of(most) < power:
        return None
    return float(scipy.optimize.brentq(lambda drop: power_of(drop) - power, 1e-9, most, xtol=1e-6))
