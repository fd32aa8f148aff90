"""Compare two policies on the same episodes.

An episode in which both succeed or both fail contains no information about which policy is better; only the discordant
pairs do. B is compared with A: a positive difference means that B succeeds more often.
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
    """A `Paired` object counts pairs of scored episodes by outcome."""

    both: int  # both succeed
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def rates(self) -> tuple[float, float]:
        """Return the success rates of A and B, which are NaN without pairs."""
        if not self.n:
            return float("nan"), float("nan")
        return (self.both + self.only_a) / self.n, (self.both + self.only_b) / self.n

    def mcnemar(self) -> float:
        """Return the exact two-sided p value of the hypothesis that there is no difference.

        Under this hypothesis, if exactly one policy succeeds, it is equally likely to be either.
        Q. McNemar, Psychometrika 12 (1947) 153-157; exact as in F. Mosteller, Biometrics 8 (1952) 220-226.
        """
        discordant = self.only_a + self.only_b
        return float(scipy.stats.binomtest(self.only_b, discordant).pvalue) if discordant else 1.0

    def difference(self, confidence: float = 0.95) -> Estimate:
        """Return the rate of B minus the rate of A, with Tango's score interval.

        The interval is (-1, 1) without pairs. T. Tango, "Equivalence test and confidence interval for the difference in
        proportions for the paired-sample design", Statistics in Medicine 17 (1998) 891-908.
        """
        if not self.n:
            return Estimate(float("nan"), -1.0, 1.0)
        z, value, edge = scipy.special.ndtri((1 + confidence) / 2), (self.only_b - self.only_a) / self.n, 1 - 1e-12
        low = scipy.optimize.brentq(lambda d: self.score(d) - z, -edge, value) if value > -edge else -1.0
        high = scipy.optimize.brentq(lambda d: self.score(d) + z, value, edge) if value < edge else 1.0
        return Estimate(value, float(low), float(high))

    def score(self, difference: float) -> float:
        """Return Tango's statistic.

        It is standard normal if `difference` is the true difference, and decreases as `difference` grows.
        """
        return float(tango_score(self.n, np.array(self.only_a), np.array(self.only_b), difference))

    def verdict(self, level: float = 0.05) -> Verdict:
        """Return the verdict of McNemar's exact test at a two-sided level."""
        if self.mcnemar() > level:
            return "no difference shown"
        return "better" if self.only_b > self.only_a else "worse"

    def margin_p(self, margin: float) -> float:
        """Return the one-sided p value of "B is worse than A by `margin` or more", by Tango's test.

        `margin` is a fraction of 1.
        """
        return float(scipy.special.ndtr(-self.score(-margin))) if self.n else 1.0

    def margin_verdict(self, margin: float, level: float = 0.05) -> Margin:
        """Return the verdict of the two-sided 1 - `level` interval.

        B is non-inferior if the whole interval lies above -margin, and inferior if the whole interval lies below. Each
        error therefore has a probability of at most half of `level` (ICH E9, "Statistical principles for clinical
        trials", section 3.3.2).
        """
        found = self.difference(1 - level)
        return "non-inferior" if found.low > -margin else "inferior" if found.high < -margin else "undecided"


def tango_score(n: int, only_a: np.ndarray, only_b: np.ndarray, difference: float) -> np.ndarray:
    """Return Tango's score for tables with n pairs each, elementwise.

    Tango (1998), with b = `only_b`, c = `only_a`.
    """
    linear = (2 * n - only_b + only_a) * difference - only_b - only_a
    constant = -only_a * difference * (1 - difference)
    root = np.sqrt(np.maximum(linear * linear - 8 * n * constant, 0.0))
    likely_a = (root - linear) / (4 * n)  # maximum-likelihood P(only A succeeds), given the difference
    variance = n * (2 * likely_a + difference * (1 - difference))
    distance = only_b - only_a - n * difference
    certain = np.where(distance == 0, 0.0, np.copysign(np.inf, distance))
    return np.where(variance > 0, distance / np.sqrt(np.where(variance > 0, variance, 1.0)), certain)
