"""Serve a page that shows the run while it goes on (`pirig eval --live PORT`).

Law 1: The page only observes. A run with it gives the same results as without it.
"""

import contextlib
import dataclasses
import logging
import pathlib
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pirig.evaluation.plan import spec_of
from pirig.interfaces import Observer
from pirig.results import live
from pirig.results.page import live as pages
from pirig.results.report import Report
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec, Job, Video

_log = logging.getLogger(__name__)
_LINGER_S = 3.0  # a page asks once per second


@contextlib.contextmanager
def watching(host: str, port: int) -> "Generator[Watch]":
    """Serve the page while the block runs. Raises StartError if the port cannot be used."""
    with tempfile.TemporaryDirectory(prefix="pirig-live-") as folder:
        watch = Watch(pathlib.Path(folder))
        with live.serving(watch, host, port) as address:
            _log.info("live page: %s", address)
            watch.address = address
            yield watch
            watch.lingers()


@dataclasses.dataclass(frozen=True)
class _Doing:
    job: Job
    since_s: float


@dataclasses.dataclass(frozen=True)
class Followed:
    """A run that the page shows."""

    store: RunStore
    planned: Sequence[EpisodeSpec]
    names: Mapping[int, str]  # of tasks


class Watch(Observer):
    """Hold what the page shows. Written by one thread, read by others. Of several runs, the one with the latest
    result is shown. Implements live.View.
    """

    def __init__(self, frames: pathlib.Path):
        self.address = ""  # of the page, where it is served
        self._frames, self._lock = frames, threading.Lock()
        self._runs: dict[str, Followed] = {}  # by suite
        self._suite = ""  # of the run that is shown
        self._shown_since = -1  # revision
        self._results: dict[EpisodeSpec, EpisodeResult] = {}
        self._doing: dict[int, _Doing | None] = {}
        self._revision, self._began_s, self._scored_before = 0, time.monotonic(), 0
        self._fragments: tuple[int, Mapping[str, str]] = (-1, {})
        self._reports: list[pathlib.Path] = []
        self._asked_s, self._is_told = float("-inf"), threading.Event()

    @property
    def frames(self) -> pathlib.Path:
        """Folder where workers put the images that their policies receive, by worker index."""
        return self._frames

    def begin(self, runs: Sequence[Followed]) -> None:
        """Begin with the results that the runs' stores have."""
        with self._lock:
            self._runs = {run.store.configuration["suite"]: run for run in runs}
            for run in runs:
                wanted = set(run.planned)
                self._results |= {result.spec: result for result in run.store.results() if result.spec in wanted}
            self._suite = next(iter(self._runs))
            self._began_s, self._scored_before = time.monotonic(), self._scored()
            self._revision += 1

    def started(self, worker: int, job: Job) -> None:
        with self._lock:
            self._doing[worker] = _Doing(job, time.monotonic())

    def result(self, result: EpisodeResult) -> None:
        with self._lock:
            self._end_job(result.spec)
            self._results[result.spec] = result
            self._revision += 1
            if result.spec.suite != self._suite:
                self._suite, self._shown_since = result.spec.suite, self._revision

    def video(self, video: Video) -> None:
        with self._lock:
            self._end_job(video.spec)

    def ends(self, report: pathlib.Path) -> None:
        """Link the report of a run that has ended."""
        with self._lock:
            self._reports.append(report)
            self._revision += 1
            self._is_told.clear()

    def lingers(self) -> None:
        """Wait a moment if an open page has not fetched the last report yet."""
        with self._lock:
            is_open = bool(self._reports) and time.monotonic() - self._asked_s < _LINGER_S
        if is_open:
            self._is_told.wait(_LINGER_S)

    def report(self, number: int) -> str:
        with self._lock:
            if number >= len(self._reports):
                return ""
            text = self._reports[number].read_text(encoding="utf-8")
            if number + 1 == len(self._reports):
                self._is_told.set()
            return text

    def page(self) -> str:
        with self._lock:
            report = self._current()
            return (
                pages.page(report, self._now(), self._ended())
                if report
                else "<!doctype html><p>The run has not begun.</p>"
            )

    def state(self, seen: int) -> dict[str, Any]:
        with self._lock:
            self._asked_s = time.monotonic()
            report = self._current()
            if report is None:
                return {"revision": -1, "title": "pirig", "fragments": {}}
            if self._fragments[0] != self._revision:
                self._fragments = self._revision, {**pages.fragments(report), "ended": self._ended()}
            changed = dict(self._fragments[1]) if seen != self._revision else {}
            if seen < self._shown_since:
                changed["provenance"] = pages.provenance(report)
            title = f"{self._scored()}/{self._count()} · {report.suite} · pirig"
            return {"revision": self._revision, "title": title, "fragments": {**changed, "now": self._now()}}

    def _end_job(self, spec: EpisodeSpec) -> None:
        for worker, doing in self._doing.items():
            if doing and spec_of(doing.job) == spec:
                self._doing[worker] = None

    def _current(self) -> Report | None:
        if not self._suite:
            return None
        run = self._runs[self._suite]
        manifest = dict(run.store.manifest)  # it grows meanwhile
        results = tuple(result for result in self._results.values() if result.spec.suite == self._suite)
        return Report(run.store.directory.name, manifest, results, tuple(sorted(run.planned)), run.names)

    def _ended(self) -> pages.Html:
        return pages.ended([(path.parent.name, str(path)) for path in self._reports])

    def _scored(self) -> int:
        return sum(result.status != "error" for result in self._results.values())

    def _count(self) -> int:
        return sum(len(run.planned) for run in self._runs.values())

    def _now(self) -> pages.Html:
        done, planned, now_s = self._scored(), self._count(), time.monotonic()
        fresh = done - self._scored_before
        left_s = (now_s - self._began_s) / fresh * (planned - done) if fresh else None
        workers = [self._worker(worker, doing, now_s) for worker, doing in sorted(self._doing.items())]
        return pages.now(workers, done=done, planned=planned, left_s=left_s)

    def _worker(self, worker: int, doing: _Doing | None, now_s: float) -> pages.Now:
        if doing is None:
            return pages.Now(worker, "", 0.0, "")
        spec = spec_of(doing.job)
        name = f"task {spec.task_id} trial {spec.trial}"
        if len(self._runs) > 1:
            name = f"{spec.suite} {name}"
        if isinstance(doing.job, EpisodeResult):
            name = f"video of {name}"
        try:
            taken = (self._frames / f"{worker}.png").stat().st_mtime_ns
        except OSError:
            taken = 0
        return pages.Now(worker, name, now_s - doing.since_s, f"frame/{worker}.png?at={taken}" if taken else "")
