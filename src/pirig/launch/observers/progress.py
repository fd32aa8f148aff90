"""Show the progress of episodes: a bar for each suite on a terminal, else a line for each episode."""

import logging
import time
from collections.abc import Mapping, Sequence

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pirig.interfaces import Observer
from pirig.launch.logs import STDERR
from pirig.types import EpisodeResult, Video

_log = logging.getLogger(__name__)
_LINE_EVERY_S = 15.0  # between lines about videos, without a terminal


class EpisodeProgress(Observer):
    """Show the number of scored episodes, the success rate so far and the remaining time of each suite. Without a
    terminal, log a line per episode, and a line about videos every 15 s.
    """

    def __init__(self, suites: Mapping[str, tuple[int, Sequence[EpisodeResult]]]):
        """`suites`: by name, the number of planned episodes, and the results that are scored already."""
        self._scored = {suite: len(finished) for suite, (_, finished) in suites.items()}
        self._successes = {
            suite: sum(result.status == "success" for result in finished) for suite, (_, finished) in suites.items()
        }
        self._videos_failed = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=STDERR,
            speed_estimate_period=3600,  # [s]; episodes are long, so the remaining time averages over many
            disable=not STDERR.is_terminal,
        )
        self._videos: TaskID | None = None
        self._videos_made, self._next_line_s = 0, 0.0
        self._tasks = {
            suite: self._progress.add_task(suite, total=total, completed=self._scored[suite], rate=self._rate(suite))
            for suite, (total, _) in suites.items()
        }
        self._progress.start()

    def close(self) -> None:
        self._progress.stop()
        if self._videos_failed:
            _log.warning("%d videos could not be made; the same command tries again", self._videos_failed)

    def video(self, video: Video) -> None:
        if video.error:
            self._videos_failed += 1
            _log.warning("%s: no video: %s", video.spec.key, video.error.rstrip())
        if self._videos is None:
            self._videos = self._progress.add_task("videos", total=None, rate="")
        self._progress.update(self._videos, advance=1)
        self._videos_made += not video.error
        if not STDERR.is_terminal and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LINE_EVERY_S
            _log.info("videos made: %d", self._videos_made)

    def result(self, result: EpisodeResult) -> None:
        suite = result.spec.suite
        self._scored[suite] += result.status != "error"
        self._successes[suite] += result.status == "success"
        self._progress.update(self._tasks[suite], advance=result.status != "error", rate=self._rate(suite))
        _log.info("%s", episode_line(result))

    def _rate(self, suite: str) -> str:
        scored = self._scored[suite]
        return f"{self._successes[suite] / scored:.1%} success" if scored else ""


def episode_line(result: EpisodeResult) -> str:
    """Return one line, e.g. `libero_goal task 3 trial 17: success, 118 steps, 24 chunks, 41 ms each`."""
    spec, times = result.spec, result.timings
    line = f"{spec.suite} task {spec.task_id} trial {spec.trial}: {result.status}, {result.steps} steps"
    if times.chunks:
        line += f", {times.chunks} chunks, {1e3 * times.inference_s / times.chunks:.3g} ms each"
    return f"{line}\n{result.error.rstrip()}" if result.error else line
