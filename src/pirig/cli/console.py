"""What a person sees: log lines, a progress bar where there is a terminal, the final table."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pirig.checkpoints import download
from pirig.results.statistics.tally import Tally
from pirig.types import EpisodeResult, Video

_log = logging.getLogger("pirig")
_err = Console(stderr=True)
_LINE_EVERY_S = 15.0  # where there is no terminal for a bar


def log_to_stderr() -> None:
    """One line per event; the progress bar stays below them where stderr is a terminal."""
    if _err.is_terminal:
        handler: logging.Handler = RichHandler(console=_err, show_path=False, markup=False, highlighter=None)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("pirig")
    root.handlers.clear()
    root.addHandler(handler)
    root.propagate = False
    root.setLevel(logging.INFO)


class EpisodeProgress:
    """Progress over the episodes of each suite: count, running success rate, time left. Without a terminal a line for
    each episode, and one for videos now and then.
    """

    def __init__(self, suites: Mapping[str, tuple[int, Sequence[EpisodeResult]]]):
        """`suites`: by name, how many episodes are planned, and those that are scored already."""
        self.scored = {suite: len(finished) for suite, (_, finished) in suites.items()}
        self._successes = {
            suite: sum(result.status == "success" for result in finished) for suite, (_, finished) in suites.items()
        }
        self.videos_failed = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=_err,
            speed_estimate_period=3600,  # [s]; episodes are long, so the time left is an average over many
            disable=not _err.is_terminal,
        )
        self._videos: TaskID | None = None
        self._videos_made, self._next_line_s = 0, 0.0
        self._tasks = {
            suite: self._progress.add_task(suite, total=total, completed=self.scored[suite], rate=self._rate(suite))
            for suite, (total, _) in suites.items()
        }

    def __enter__(self) -> "EpisodeProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, found: EpisodeResult | Video) -> None:
        if isinstance(found, Video):
            self._show_video(found)
        else:
            self._show_result(found)

    def _show_video(self, video: Video) -> None:
        if video.error:
            self.videos_failed += 1
            _log.warning("%s: no video: %s", video.spec.key, video.error.rstrip())
        if self._videos is None:
            self._videos = self._progress.add_task("videos", total=None, rate="")
        self._progress.update(self._videos, advance=1)
        self._videos_made += not video.error
        if not _err.is_terminal and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LINE_EVERY_S
            _log.info("videos made: %d", self._videos_made)

    def _show_result(self, result: EpisodeResult) -> None:
        suite = result.spec.suite
        self.scored[suite] += result.status != "error"
        self._successes[suite] += result.status == "success"
        self._progress.update(self._tasks[suite], advance=result.status != "error", rate=self._rate(suite))
        _log.info("%s", episode_line(result))

    def _rate(self, suite: str) -> str:
        scored = self.scored[suite]
        return f"{self._successes[suite] / scored:.1%} success" if scored else ""


class DownloadProgress:
    """Bytes, rate and time left of one download: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self):
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[pace]}"),
            console=_err,
            disable=not _err.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, pace="")
        self._next_line_s = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> "DownloadProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, state: download.Progress) -> None:
        self._progress.start()  # not before: what is here already shows no bar
        files, pace = f"{state.files_done}/{state.files_total} files", download_pace(state)
        self._progress.update(
            self._task,
            description=files,
            total=state.bytes_total,
            completed=state.bytes_done,
            pace=pace,
        )
        if not _err.is_terminal and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LINE_EVERY_S
            share = state.bytes_done / max(1, state.bytes_total)
            _log.info("%s, %.0f %% of %.2f GiB, %s", files, 100 * share, state.bytes_total / 2**30, pace)


class QuantizationProgress:
    """A bar for each part of making a pack; without a terminal a line now and then."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=_err,
            disable=not _err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._next_line = 0.0

    def __enter__(self) -> "QuantizationProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """`what`: rendering, calibrating, or the name of a layer."""
        part = what if what in ("rendering", "calibrating") else "rounding layers"
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part, total=total)
        self._progress.update(self._tasks[part], completed=done, total=total)
        if not _err.is_terminal and (time.monotonic() > self._next_line or done == total):
            self._next_line = time.monotonic() + _LINE_EVERY_S
            _log.info("%s: %d of %d", part, done, total)


def download_pace(state: download.Progress) -> str:
    """E.g. `85.3 MiB/s, 2 min 10 s left`."""
    if not state.rate:
        return "waiting" if state.bytes_done < state.bytes_total else "checking"
    minutes, seconds = divmod(round(state.eta_s), 60)
    left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{state.rate / 2**20:.1f} MiB/s, {left} left"


def episode_line(result: EpisodeResult) -> str:
    """E.g. `libero_goal task 3 trial 17: success, 118 steps, 24 chunks, 41 ms each`."""
    spec, times = result.spec, result.timings
    line = f"{spec.suite} task {spec.task_id} trial {spec.trial}: {result.status}, {result.steps} steps"
    if times.chunks:
        line += f", {times.chunks} chunks, {1e3 * times.inference_s / times.chunks:.3g} ms each"
    return f"{line}\n{result.error.rstrip()}" if result.error else line


def print_table(suite: str, by_task: Mapping[int, Tally], names: Mapping[int, str]) -> None:
    table = Table(title=suite, title_justify="left")
    for column in ("task", "success", "rate", "95 % Wilson", "steps", "errors", "missing"):
        table.add_column(column, justify="left" if column == "task" else "right", overflow="fold")
    for task_id, tally in by_task.items():
        low, high = tally.interval
        table.add_row(
            f"{task_id} {names[task_id]}",
            f"{tally.successes}/{tally.scored}",
            f"{100 * tally.rate:.1f}" if tally.scored else "-",
            f"{100 * low:.1f} – {100 * high:.1f}",
            f"{tally.success_steps:.0f}" if tally.successes else "-",
            str(tally.errors or ""),
            str(tally.missing or ""),
        )
    console = Console()
    (console if console.is_terminal else Console(width=130)).print(table)


def stopped(suite: str, total: Tally, decided: str) -> str:
    """The last line of a run that stopped early. Its rate is no headline: the rest of the plan is not in it."""
    planned = total.scored + total.errors + total.missing
    return f"{suite}: STOPPED EARLY, {total.scored} of {planned} episodes scored, as declared: {decided}"


def verdict(suite: str, total: Tally) -> str:
    """The last line. A run with episodes missing gets no headline number."""
    planned = total.scored + total.errors + total.missing
    if not total.complete:
        return (
            f"{suite}: INCOMPLETE, {total.scored} of {planned} episodes scored, {total.errors} errors, "
            f"{total.missing} missing; no success rate yet. The same command goes on where this one stopped."
        )
    low, high = total.interval
    return (
        f"{suite}: complete, {total.successes} of {planned} episodes succeeded: "
        f"{100 * total.rate:.1f} % (95 % Wilson {100 * low:.1f} – {100 * high:.1f})"
    )
