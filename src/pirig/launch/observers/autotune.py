"""Measure a run for one minute, then set the number of workers and the batch size (`pirig eval --autotune`).

Law 1: Only where and when episodes run changes, so no result depends on it.
Law 2: A number that was given with --workers stays.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pirig.evaluation.tuning import Measured, Tuning, time_left, tune
from pirig.interfaces import Observer
from pirig.serving.batching import BatchTimes
from pirig.types import EpisodeResult, EpisodeSpec

_log = logging.getLogger(__name__)
AFTER_S = 60.0
_AT_LEAST = 4  # results


@dataclasses.dataclass(frozen=True)
class Levers:
    """What can be measured and set at the site."""

    workers: int
    cores: int
    room: Callable[[], int]  # number of further workers that fit into memory
    hosts: int
    most_batch: int
    batches: Callable[[], Sequence[Mapping[int, BatchTimes]]]
    set_workers: Callable[[int], None] | None  # None: the user has set the number
    set_batch: Callable[[int], None] | None


class Autotune(Observer):
    """Measure from the results, and act once."""

    def __init__(
        self,
        levers: Levers,
        left: Mapping[EpisodeSpec, int],
        note: Callable[[dict[str, Any]], None],
        *,
        after_s: float = AFTER_S,
    ):
        """`left`: the steps of each remaining episode if it does not succeed. `note`: records the outcome in the
        manifest.
        """
        self._levers, self._left, self._note, self._after_s = levers, dict(left), note, after_s
        self._results: list[EpisodeResult] = []
        self._since_s = 0.0
        self._done = False

    def result(self, result: EpisodeResult) -> None:
        if result.status == "error":
            return
        self._since_s = self._since_s or time.monotonic() - result.wall_s
        self._left.pop(result.spec, None)
        self._results.append(result)
        is_time = time.monotonic() - self._since_s >= self._after_s
        if not self._done and is_time and len(self._results) >= max(_AT_LEAST, self._levers.workers):
            self._done = True
            self._act()

    def _act(self) -> None:
        levers, chunks = self._levers, sum(result.timings.chunks for result in self._results)
        if not chunks:
            return
        measured = self._measured(chunks)
        tuning = tune(measured, levers.most_batch)
        workers = min(tuning.workers, max(1, len(self._left)))
        if levers.set_workers and workers != levers.workers:
            levers.set_workers(workers)
        if levers.set_batch and tuning.max_batch:
            levers.set_batch(tuning.max_batch)
        share = sum(r.steps for r in self._results) / sum(r.max_steps for r in self._results)
        rate = tuning.steps_per_s
        if not levers.set_workers:
            rate *= min(1.0, levers.workers / tuning.workers)
        left_s = time_left(self._left.values(), share, rate)
        _log.info("%s", in_words(measured, tuning, is_set=levers.set_workers is not None, left_s=left_s))
        self._note(
            {
                "measured": dataclasses.asdict(measured)
                | {"batches": {str(n): list(times) for n, times in sorted(measured.batches.items())}},
                "found": dataclasses.asdict(tuning),
                "workers": workers if levers.set_workers else levers.workers,
                "left_s": round(left_s, 1),
            }
        )

    def _measured(self, chunks: int) -> Measured:
        levers, times = self._levers, [result.timings for result in self._results]
        together: dict[int, BatchTimes] = {}
        for host in levers.batches():
            for size, (count, total_s) in host.items():
                before = together.get(size, (0, 0.0))
                together[size] = before[0] + count, before[1] + total_s
        return Measured(
            workers=levers.workers,
            cores=levers.cores,
            room=levers.workers + levers.room(),
            hosts=levers.hosts,
            chunk_s=sum(t.reset_s + t.simulation_s for t in times) / chunks,
            wait_s=sum(t.inference_s for t in times) / chunks,
            steps_per_chunk=sum(result.steps for result in self._results) / chunks,
            batches=together,
        )


def in_words(measured: Measured, tuning: Tuning, *, is_set: bool, left_s: float) -> str:
    """Return one line for the log."""
    supply = measured.steps_per_chunk / measured.chunk_s
    said = f"autotune: a worker does {supply:.3g} steps/s and waits {1e3 * measured.wait_s:.3g} ms for a chunk"
    if measured.hosts and measured.batches:
        largest = max(measured.batches)
        count, total_s = measured.batches[largest]
        said += f"; a batch of {largest} takes {1e3 * total_s / count:.3g} ms on {measured.hosts} policy hosts"
    wanted = f"{tuning.workers} workers"
    if not is_set:
        wanted = f"{measured.workers} workers as given, where {wanted} would do"
    if tuning.max_batch:
        wanted += f", batches of {tuning.max_batch} at most"
    minutes = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
    return f"{said}; {tuning.bottleneck} is the bottleneck: {wanted}, {tuning.steps_per_s:.3g} steps/s, {minutes} left"
