"""Count results and compute success rates.

Success rate = successes / (successes + failures); errors are counted separately.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np
import scipy  # loads its subpackages on first use: scipy.stats takes most of a second in every process

from pirig.types import EpisodeResult, EpisodeSpec


@dataclasses.dataclass(frozen=True)
class Tally:
    """A `Tally` holds the counts of one task, or of all tasks."""

    successes: int
    failures: int
    errors: int
    missing: int  # planned episodes without any result
    success_steps: float  # mean steps of the successes, settle steps included; NaN if there is none

    @property
    def scored(self) -> int:
        return self.successes + self.failures

    @property
    def complete(self) -> bool:
        return not self.errors and not self.missing

    @property
    def rate(self) -> float:
        """Return the success rate, which is NaN before the first scored episode."""
        return self.successes / self.scored if self.scored else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % Wilson interval of the success rate."""
        return wilson(self.successes, self.scored)


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, which is (0, 1) for n = 0.

    Counts may be effective counts, see `intervals`.
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    z, p = scipy.special.ndtri((1 + confidence) / 2), successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def tally(results: Iterable[EpisodeResult], planned: Iterable[EpisodeSpec]) -> Tally:
    """Count the planned episodes; results of other episodes are ignored."""
    by_spec = {result.spec: result for result in results}
    found = [by_spec.get(spec) for spec in planned]
    status = [result.status if result else "missing" for result in found]
    steps = [result.steps for result in found if result and result.status == "success"]
    return Tally(
        status.count("success"),
        status.count("failure"),
        status.count("error"),
        status.count("missing"),
        float(np.mean(steps)) if steps else float("nan"),
    )


def tally_by_task(results: Iterable[EpisodeResult], planned: Iterable[EpisodeSpec]) -> dict[int, Tally]:
    """Return the tally of each task, by task id in ascending order."""
    results, planned = list(results), list(planned)
    ids = sorted({spec.task_id for spec in planned})
    return {i: tally(results, [spec for spec in planned if spec.task_id == i]) for i in ids}
