"""What the parts promise each other. Structural: nobody has to inherit. `pirig.testing` has the laws as tests."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pirig.types import EpisodeResult, EpisodeSpec, Job, Metadata, Observation, Step, Video


class Policy(Protocol):
    """Maps one observation to one chunk of actions.

    Law 1: the answer depends on the observation alone, so any number of workers may share a policy, in any
    order, and a request may be repeated. Memory between calls travels in the observation's `carry`.
    Law 2: an observation is never changed.
    """

    @property
    def metadata(self) -> Metadata: ...

    @property
    def max_batch(self) -> int:
        """The most observations that the policy gains from computing together; 1 for one that gains nothing."""
        ...

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Returns at least `actions`: float64[T, A], the first one due now."""
        ...

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        """Row i is what `infer(observations[i])` returns."""
        ...

    def close(self) -> None:
        """Frees what the policy holds. A policy that holds nothing does nothing."""
        ...


class Environment(Protocol):
    """One simulated scene. Owned by one process, used by one thread.

    `look` names the observation keys that the caller is about to read; only those are made, because images
    cost far more than physics. What is looked at never changes what happens.
    """

    @property
    def rendering_s(self) -> float:
        """Time spent on images since the latest reset began [s]."""
        ...

    def reset(self, spec: EpisodeSpec, look: Collection[str] = ()) -> Step:
        """Starts the episode that `spec` names, whatever ran before. Raises ConfigError for an unknown one."""
        ...

    def step(self, action: np.ndarray, look: Collection[str] = ()) -> Step:
        """Applies `action`: float64[A]."""
        ...

    def state_hash(self) -> str:
        """Hex digest of the full simulator state; equal states, bit for bit, give equal digests."""
        ...

    def close(self) -> None: ...


class Worker(Protocol):
    """Runs one episode, or makes one video. Never raises for what goes wrong inside: that is in what it returns."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Facts for the run's manifest: the policy's metadata, versions, how long the warm-up took."""
        ...

    def __call__(self, job: Job, /) -> EpisodeResult | Video: ...

    def close(self) -> None: ...


WorkerFactory = Callable[[int], Worker]
"""Builds the worker with this index, in the process that will use it. Must pickle. What it raises stops the run."""


class Executor(Protocol):
    """Decides where and when work is done; knows nothing of what it is."""

    def run(self, work: "Work", make_worker: WorkerFactory) -> Iterator[EpisodeResult | Video]:
        """Yields one answer per job, in order of completion. The caller may add to `work` what follows from it.

        Raises StartError when workers cannot start.
        """
        ...


class Observer:
    """Follows a run. Every method does nothing here; a subclass overrides those that it needs.

    Called by the coordinator in one thread, after the store has the result. What an observer raises stops the run.
    """

    def worker_ready(self, description: Mapping[str, Any]) -> None:
        """A worker has started. `description`: what it says of itself."""

    def started(self, worker: int, job: Job) -> None:
        """The worker with this index was given this job."""

    def result(self, result: EpisodeResult) -> None:
        """An episode has ended; its result is in the store."""

    def video(self, video: Video) -> None:
        """A video was made, or could not be."""

    def close(self) -> None:
        """The run is over, however it ended."""


class Work(Protocol):
    """What is left to do."""

    def take(self, last: EpisodeSpec | None, busy: Collection[EpisodeSpec]) -> Job | None:
        """The next job of a worker that was at `last`, while others are at `busy`. None: nothing, for now."""
        ...

    def put_back(self, job: Job) -> None:
        """It was taken, and not done."""
        ...

    def __len__(self) -> int: ...


class ResultStore(Protocol):
    """Append-only record of one run; one writer."""

    def append(self, result: EpisodeResult) -> None:
        """On disk when this returns."""
        ...

    def results(self) -> Iterator[EpisodeResult]:
        """One per episode, in order of first completion: the latest, but a success or failure outranks any error."""
        ...

    def scored(self) -> dict[EpisodeSpec, EpisodeResult]:
        """Return the results that need not run again, successes and failures, by episode."""
        ...
