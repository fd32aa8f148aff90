"""Run a plan: give the remaining jobs to the executor, and put each result into the store.

Law 1: A result is in the store before any observer receives it.
Law 2: An episode that ended in an error runs once more in the same command, and again in the next command. The second
try comes after all other episodes and in newly started workers, because the cause may be temporary. If other episodes
wait for it (`Plan.ahead`), it comes at once.
Law 3: Videos are made from results in the store, so the next command that wants videos makes the missing ones.
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pirig.errors import StartError
from pirig.evaluation.plan import Plan, Work, remaining
from pirig.interfaces import Executor, Observer, ResultStore, WorkerFactory
from pirig.types import EpisodeResult, EpisodeSpec, Job, Video

_ERRORS_IN_A_ROW = 10
_log = logging.getLogger(__name__)


class Observers(Observer):
    """Pass each event to several observers, in the order in which they were added."""

    def __init__(self, *observers: Observer):
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def worker_ready(self, description: Mapping[str, Any]) -> None:
        for observer in self._observers:
            observer.worker_ready(description)

    def started(self, worker: int, job: Job) -> None:
        for observer in self._observers:
            observer.started(worker, job)

    def result(self, result: EpisodeResult) -> None:
        for observer in self._observers:
            observer.result(result)

    def video(self, video: Video) -> None:
        for observer in self._observers:
            observer.video(video)

    def close(self) -> None:
        """Close all observers in the order in which they were added, even if one of them raises."""
        with contextlib.ExitStack() as stack:
            for observer in reversed(self._observers):
                stack.callback(observer.close)


def run(
    plan: Plan,
    store: ResultStore,
    executor: Executor,
    make_worker: WorkerFactory,
    observers: Observer = Observer(),  # noqa: B008 - the default has no state
) -> None:
    """Run the planned episodes that have no score in the store, and make the videos that the plan wants.

    `plan.is_decided` is called after each result. Once it returns true, no other episode starts; running ones finish.
    Observers are closed when the run ends, however it ends. Raises StartError if workers cannot start, or if too many
    results in a row are errors; all results received so far are in the store then.
    """
    try:
        _run(plan, store, executor, make_worker, observers)
    finally:
        observers.close()


def _run(plan: Plan, store: ResultStore, executor: Executor, make_worker: WorkerFactory, observers: Observer) -> None:
    planned = set(plan.episodes)
    scored = planned & store.scored().keys()
    if scored:
        _log.info("%d of %d episodes are there already; going on with the rest", len(scored), len(planned))
    work = Work([] if plan.is_decided() else remaining(plan.episodes, scored), plan.ahead)
    for result in store.results():
        if result.spec in planned and plan.wants_video(result):
            work.add_video(result)
    progress = _Outcomes(plan, store, observers)
    progress.run(work, executor, make_worker)
    if (repeats := progress.to_repeat()) and not plan.is_decided():
        _log.warning("%d episodes ended in an error; running them once more", len(repeats))
        progress.run(Work(repeats, plan.ahead), executor, make_worker)


class _Outcomes:
    """Process the outcomes of jobs, and count the errors."""

    def __init__(self, plan: Plan, store: ResultStore, observers: Observer):
        self._plan, self._store, self._observers = plan, store, observers
        self._errors: Counter[EpisodeSpec] = Counter()  # of episodes without a score
        self._errors_in_a_row = 0

    def run(self, work: Work, executor: Executor, make_worker: WorkerFactory) -> None:
        for outcome in executor.run(work, make_worker):
            if isinstance(outcome, Video):
                self._observers.video(outcome)
            else:
                self._take(outcome, work)

    def to_repeat(self) -> list[EpisodeSpec]:
        """Return the episodes that ended in an error and have not run a second time."""
        return [spec for spec in self._plan.episodes if self._errors[spec] == 1]

    def _take(self, result: EpisodeResult, work: Work) -> None:
        self._store.append(result)
        self._observers.result(result)
        if result.status == "error":
            self._count_error(result)
        else:
            self._errors_in_a_row = 0
            del self._errors[result.spec]
        if self._plan.is_decided():
            work.drop_episodes()
        elif self._errors[result.spec] == 1 and self._plan.ahead is not None:  # Law 2
            work.put_back(result.spec)
        if self._plan.wants_video(result):
            work.add_video(result)

    def _count_error(self, result: EpisodeResult) -> None:
        self._errors[result.spec] += 1
        self._errors_in_a_row += 1
        if self._errors_in_a_row == _ERRORS_IN_A_ROW:
            count = self._errors_in_a_row
            raise StartError(f"{count} errors in a row, so the run stops; the last one:\n{result.error}")
