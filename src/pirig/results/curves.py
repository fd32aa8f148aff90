"""Compute curves over a run's scored episodes for TensorBoard, trackio and Weights & Biases.

success_rate/all             success rate of all episodes scored so far; success_rate/task_03: that of one task
steps_to_success             steps of the episode if it succeeded, settle steps included
seconds/reset, …             wall time of the episode, divided as in report.TIMES [s]
inference_ms                 inference time of one chunk, averaged over the episode [ms]
errors                       number of errors so far; an episode counts each time it ends in one
"""

from collections.abc import Iterable

from pirig.results.report import seconds
from pirig.types import EpisodeResult


class Curves:
    """A `Curves` object computes the curve values of one run as its results arrive.

    `known`: results that are already in the store; the curves continue from them.
    """

    def __init__(self, known: Iterable[EpisodeResult] = ()):
        self._successes: dict[int, list[bool]] = {}
        self._errors = 0
        for result in known:
            self._count(result)

    @property
    def scored(self) -> int:
        """Return the number of scored episodes, which is the current position on the horizontal axis."""
        return sum(map(len, self._successes.values()))

    def after(self, result: EpisodeResult) -> dict[str, float]:
        """Add `result` and return the values that it contributes, by curve, at position `scored`."""
        self._count(result)
        if result.status == "error":
            return {"errors": self._errors}
        task_id, times = result.spec.task_id, result.timings
        successes = [success for of_task in self._successes.values() for success in of_task]
        found = {
            "success_rate/all": _mean(successes),
            f"success_rate/task_{task_id:02d}": _mean(self._successes[task_id]),
            "errors": self._errors,
            **{f"seconds/{name}": value for name, value in seconds(result).items()},
        }
        if result.status == "success":
            found["steps_to_success"] = result.steps
        if times.chunks:
            found["inference_ms"] = 1e3 * times.inference_s / times.chunks
        return found

    def _count(self, result: EpisodeResult) -> None:
        if result.status == "error":
            self._errors += 1
        else:
            self._successes.setdefault(result.spec.task_id, []).append(result.status == "success")


def _mean(successes: list[bool]) -> float:
    return sum(successes) / len(successes)
