"""Two policies on the same episodes: what the pairs say.

Where both succeed or both fail, an episode says nothing about which policy is better; the discordant ones decide.
B is compared with A: a positive difference means that B succeeds more often.
"""

import dataclasses
from typing import Literal

import numpy as np
import scipy

from pirig.results.statistics.intervals import Estimate

Verdict = Literal["better", "worse", "no difference shown"]
Margin = Literal["non-inferior", "inferior", "undecided"]


@dataclasses.dataclass(frozen=True)
class Paired:
    """Counts of pairs of scored episodes."""

    both: int  # succeed
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def rates(self) -> tuple[float, float]:
        """Of A and B; NaN without pairs."""
        if not self.n:
            return float("nan"), float("nan")
        return (self.both + self.only_a) / self.n, (self.both + self.only_b) / self.n

    def mcnemar(self) -> float:
        """Exact two-sided p value of no difference: given that one succeeds, either is as likely to be the one.

        Q. McNemar, Psychometrika 12 (1947) 153-157; exact as in F. Mosteller, Biometrics 8 (1952) 220-226.
        """
        discordant = self.only_a + self.only_b
        return float(scipy.stats.binomtest(self.only_b, discordant).pvalue) if discordant else 1.0

    def difference(self, confidence: float = 0.95) -> Estimate:
        """Rate of B minus rate of A, with Tango's score interval; (-1, 1) without pairs.

        T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design", Statistics in Medicine 17 (1998) 891-908.
        """
        if not self.n:
            return Estimate(float("nan"), -1.0, 1.0)
        z, value, edge = scipy.special.ndtri((1 + confidence) / 2), (self.only_b - self.only_a) / self.n, 1 - 1e-12
        low = scipy.optimize.brentq(lambda d: self.score(d) - z, -edge, value) if value > -edge else -1.0
        high = scipy.optimize.brentq(lambda d: self.score(d) + z, value, edge) if value < edge else 1.0
        return Estimate(value, float(low), float(high))

    def score(self, difference: float) -> float:
        """Tango's statistic: standard normal where `difference` is the true one, and falling in it."""
        return float(tango_score(self.n, np.array(self.only_a), np.array(self.only_b), difference))

    def verdict(self, level: float = 0.05) -> Verdict:
        """At a two-sided level, by McNemar's exact test."""
        if self.mcnemar() > level:
            return "no difference shown"
        return "better" if self.only_b > self.only_a else "worse"

    def margin_p(self, margin: float) -> float:
        """One-sided p value of "B is worse than A by `margin` or more", a fraction of 1. Tango, as above."""
        return float(scipy.special.ndtr(-self.score(-margin))) if self.n else 1.0

    def margin_verdict(self, margin: float, level: float = 0.05) -> Margin:
        """By the two-sided 1 - `level` interval: non-inferior where all of it lies above -margin, inferior where all
        of it lies below. So each error has at most half of `level` (ICH E9, "Statistical principles for clinical
        trials", section 3.3.2)."""
        found = self.difference(1 - level)
        return "non-inferior" if found.low > -margin else "inferior" if found.high < -margin else "undecided"


def tango_score(n: int, only_a: np.ndarray, only_b: np.ndarray, difference: float) -> np.ndarray:
    """Of tables with n pairs each, elementwise; Tango (1998), with b = `only_b`, c = `only_a`."""
    linear = (2 * n - only_b + only_a) * difference - only_b - only_a
    constant = -only_a * difference * (1 - difference)
    root = np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0.0))
    likely_a = (root - linear) / (4 * n)  # most likely P(only A succeeds), given the difference
    variance = n * (2 * likely_a + difference * (1 - difference))
    distance = only_b - only_a - n * difference
    certain = np.where(distance == 0, 0.0, np.copysign(np.inf, distance))
    return np.where(variance > 0, distance / np.sqrt(np.where(variance > 0, variance, 1.0)), certain)
