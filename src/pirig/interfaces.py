"""Define the interfaces between packages. They are structural: no class has to inherit. `pirig.testing` tests their
laws.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pirig.types import EpisodeResult, EpisodeSpec, Job, Metadata, Observation, Step, Video


class Policy(Protocol):
    """Map one observation to one chunk of actions.

    Law 1: The answer depends on the observation alone, so workers may share a policy, in any order, and a request may
    be repeated. Memory between calls travels in the observation's `carry`.
    Law 2: An observation is never changed.
    """

    @property
    def metadata(self) -> Metadata: ...

    @property
    def max_batch(self) -> int:
        """Largest batch that is faster than its observations one by one; 1 if batches gain nothing."""
        ...

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Return at least `actions`: float64[T, A], the first one to be executed now."""
        ...

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        """Return a row for each observation. Row i is what `infer(observations[i])` returns."""
        ...

    def close(self) -> None:
        """Free what the policy holds. A policy that holds nothing does nothing."""
        ...


class Environment(Protocol):
    """Simulate one scene. An environment is owned by one process and used by one thread.

    `look` names the observation keys that the caller is about to read. Only those are made, because images cost far
    more than physics. What is looked at never changes what happens.
    """

    @property
    def rendering_s(self) -> float:
        """Time spent on images since the latest reset began [s]."""
        ...

    def reset(self, spec: EpisodeSpec, look: Collection[str] = ()) -> Step:
        """Start the episode that `spec` names, whatever ran before. Raises ConfigError for an unknown one."""
        ...

    def step(self, action: np.ndarray, look: Collection[str] = ()) -> Step:
        """Apply `action`: float64[A]."""
        ...

    def state_hash(self) -> str:
        """Return a hex digest of the full simulator state. Equal states, bit for bit, give equal digests."""
        ...

    def close(self) -> None: ...


class Worker(Protocol):
    """Run one episode or make one video. A worker never raises for a failure inside: it returns the error."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Facts for the run's manifest: the policy's metadata, versions, warm-up time."""
        ...

    def __call__(self, job: Job, /) -> EpisodeResult | Video: ...

    def close(self) -> None: ...


WorkerFactory = Callable[[int], Worker]
"""Builds the worker with this index, in the process that will use it. Must pickle. What it raises stops the run."""


class Executor(Protocol):
    """Decide where and when jobs run. An executor knows nothing about the jobs."""

    def run(self, work: "Work", make_worker: WorkerFactory) -> Iterator[EpisodeResult | Video]:
        """Yield one outcome per job, in order of completion. The caller may add jobs to `work` that follow from it.

        Raises StartError if workers cannot start.
        """
        ...


class Observer:
    """Follow a run. Every method does nothing here; a subclass overrides those that it needs.

    The coordinator calls them in one thread, after the store has the result. An exception of an observer stops the run.
    """

    def worker_ready(self, description: Mapping[str, Any]) -> None:
        """A worker has started. `description`: what it reports about itself."""

    def started(self, worker: int, job: Job) -> None:
        """The worker with this index was given this job."""

    def result(self, result: EpisodeResult) -> None:
        """An episode has ended; its result is in the store."""

    def video(self, video: Video) -> None:
        """A video was made, or could not be."""

    def close(self) -> None:
        """The run is over, however it ended."""


class Work(Protocol):
    """Hold the jobs that remain."""

    def take(self, last: EpisodeSpec | None, busy: Collection[EpisodeSpec]) -> Job | None:
        """Return the next job of a worker whose last one was `last`, while other workers run `busy`. None: no job
        for now.
        """
        ...

    def put_back(self, job: Job) -> None:
        """Return a job to the queue that was taken and not done."""
        ...

    def __len__(self) -> int: ...


class ResultStore(Protocol):
    """Record the results of one run. Append-only, with one writer."""

    def append(self, result: EpisodeResult) -> None:
        """Append a result. It is on disk when this returns."""
        ...

    def results(self) -> Iterator[EpisodeResult]:
        """Yield the latest result of each episode, in order of first completion. A score outranks any error."""
        ...

    def scored(self) -> dict[EpisodeSpec, EpisodeResult]:
        """Return the results that need not run again, successes and failures, by episode."""
        ...
