"""Decide which episodes a run consists of, and which one is next. Uses no simulator, no policy and no clock."""

import bisect
import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence

from pirig.types import EpisodeResult, EpisodeSpec, Job


def plan(suite: str, tasks: Iterable[int], trials: Iterable[int], seed: int) -> list[EpisodeSpec]:
    """Return the episodes of a suite, task by task, so that a worker seldom has to build another scene."""
    trials = list(trials)
    return [EpisodeSpec(suite, task, trial, seed) for task in tasks for trial in trials]


def longest_first(specs: Iterable[EpisodeSpec], steps: Callable[[EpisodeSpec], int]) -> list[EpisodeSpec]:
    """Sort the episodes of several suites by length, so that the last ones are short and no worker waits long.

    `steps`: returns the number of steps of an episode that never succeeds.
    """
    return sorted(specs, key=steps, reverse=True)


def remaining(specs: Sequence[EpisodeSpec], finished: Collection[EpisodeSpec]) -> list[EpisodeSpec]:
    """Return the episodes that remain, in plan order. Those that ended in an error are not finished: they run again."""
    return [spec for spec in specs if spec not in finished]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Describe the episodes and videos that a run should produce."""

    episodes: Sequence[EpisodeSpec]  # in the order in which workers get them
    wants_video: Callable[[EpisodeResult], bool] = lambda result: False
    is_decided: Callable[[], bool] = lambda: False  # whether the remaining episodes are no longer needed
    ahead: int | None = None  # see Work


class Work:
    """Queue jobs: episodes, and videos for workers that no episode remains for. Implements interfaces.Work."""

    def __init__(self, specs: Iterable[EpisodeSpec] = (), ahead: int | None = None):
        """Queue the episodes `specs`.

        `ahead`: an episode is given out only if its place in `specs` is less than `ahead` places after that of the
        first remaining episode; None: no limit.
        """
        self._episodes: list[Job] = list(specs)
        self._videos: list[Job] = []
        self._place = {job: place for place, job in enumerate(self._episodes)}
        self._ahead = ahead

    def add_video(self, result: EpisodeResult) -> None:
        self._videos.append(result)

    def take(self, last: EpisodeSpec | None, busy: Collection[EpisodeSpec]) -> Job | None:
        """Return the next job of a worker whose last one was `last`, while other workers run `busy`. None: no job.

        A worker keeps to its task, because its scene is built. If that task has no job left, the worker gets the task
        of the next suite that has the most jobs per worker.
        """
        jobs = self._within_reach() or self._videos
        if not jobs:
            return None
        left: dict[tuple[str, int], int] = {}
        for job in jobs:
            left[_task(job)] = left.get(_task(job), 0) + 1
        if last is not None and _task(last) in left:
            task = _task(last)
        else:
            crowd = [_task(spec) for spec in busy]
            suite = _task(jobs[0])[0]
            ways = [task for task in left if task[0] == suite]
            task = max(ways, key=lambda task: left[task] / (1 + crowd.count(task)))
        index = next(i for i, job in enumerate(jobs) if _task(job) == task)
        return (self._episodes or self._videos).pop(index)

    def put_back(self, job: Job) -> None:
        """Return the job to its place in the queue, so that it runs again soon."""
        if isinstance(job, EpisodeResult):
            self._videos.insert(0, job)
        else:
            bisect.insort(self._episodes, job, key=self._place.__getitem__)

    def drop_episodes(self) -> None:
        """Drop all queued episodes; running ones finish."""
        self._episodes.clear()

    def _within_reach(self) -> list[Job]:
        """Return the queued episodes that may be given out: the first ones, because the queue is sorted by place."""
        if self._ahead is None or not self._episodes:
            return self._episodes
        limit = self._place[self._episodes[0]] + self._ahead
        return [job for job in self._episodes[: self._ahead] if self._place[job] < limit]

    def __len__(self) -> int:
        return len(self._episodes) + len(self._videos)


def spec_of(job: Job) -> EpisodeSpec:
    return job.spec if isinstance(job, EpisodeResult) else job


def _task(job: Job) -> tuple[str, int]:
    spec = spec_of(job)
    return spec.suite, spec.task_id
