"""A run as curves over its scored episodes, for trackers: TensorBoard, trackio, Weights & Biases.

success_rate/all             of all that is scored so far; success_rate/task_03: of a task
steps_to_success             of the episode, where it succeeded; settle steps included
seconds/reset, …             where the episode's wall time went, by report.TIMES
inference_ms                 of a chunk, on the episode's average
errors                       episodes so far that ended in one, each time they did
"""

from collections.abc import Iterable

from pirig.results.report import seconds
from pirig.types import EpisodeResult


class Curves:
    """`known`: what is in the store already; curves go on from there."""

    def __init__(self, known: Iterable[EpisodeResult] = ()):
        self._successes: dict[int, list[bool]] = {}
        self._errors = 0
        for result in known:
            self._count(result)

    @property
    def scored(self) -> int:
        """Where on the axis the curves stand."""
        return sum(map(len, self._successes.values()))

    def after(self, result: EpisodeResult) -> dict[str, float]:
        """The values that this result adds, by curve, at `scored`."""
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
