"""Show the progress of downloads, and of the making of packs."""

import logging
import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from pirig import text
from pirig.checkpoints import download
from pirig.launch.logs import STDERR

_log = logging.getLogger(__name__)
_LINE_EVERY_S = 15.0  # between lines, without a terminal


class DownloadProgress:
    """Show bytes, rate and remaining time of one download: as a bar on a terminal, else as a line every 15 s."""

    def __init__(self):
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[pace]}"),
            console=STDERR,
            disable=not STDERR.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, pace="")
        self._next_line_s = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> "DownloadProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, state: download.Progress) -> None:
        self._progress.start()  # not before, so that a cached file shows no bar
        files, pace = f"{state.files_done}/{state.files_total} files", download_pace(state)
        self._progress.update(
            self._task,
            description=files,
            total=state.bytes_total,
            completed=state.bytes_done,
            pace=pace,
        )
        if not STDERR.is_terminal and time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LINE_EVERY_S
            share = state.bytes_done / max(1, state.bytes_total)
            _log.info("%s, %.0f %% of %.2f GiB, %s", files, 100 * share, state.bytes_total / 2**30, pace)


class QuantizationProgress:
    """Show a bar for each stage of making a pack, or a line every 15 s without a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=STDERR,
            disable=not STDERR.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._next_line = 0.0

    def __enter__(self) -> "QuantizationProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Update a stage. `what`: rendering, calibrating, or the name of a layer."""
        part = what if what in ("rendering", "calibrating") else "rounding layers"
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part, total=total)
        self._progress.update(self._tasks[part], completed=done, total=total)
        if not STDERR.is_terminal and (time.monotonic() > self._next_line or done == total):
            self._next_line = time.monotonic() + _LINE_EVERY_S
            _log.info("%s: %d of %d", part, done, total)


def download_pace(state: download.Progress) -> str:
    """Return rate and remaining time, e.g. `85.3 MiB/s, 2 min 10 s left`."""
    if not state.rate:
        return "waiting" if state.bytes_done < state.bytes_total else "checking"
    return f"{state.rate / 2**20:.1f} MiB/s, {text.duration(state.eta_s)} left"
