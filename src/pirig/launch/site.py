"""Decide where a command's episodes run: on this machine, or on a Ray cluster.

Law 1: A site decides where and when an episode runs. Run, results and bits are the same on every site.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Generator, Mapping
from typing import Literal, Protocol

from pirig.evaluation.executors import ProcessExecutor, SerialExecutor
from pirig.interfaces import Executor, Observer, WorkerFactory
from pirig.launch import places
from pirig.launch.observers.autotune import Levers
from pirig.launch.policy import (
    Baseline,
    HostedModel,
    PolicySource,
    RemoteServers,
    Room,
    StartableSource,
    StartedPolicy,
)
from pirig.launch.settings import Workers
from pirig.launch.worker import LiberoWorkerFactory
from pirig.machine import resources
from pirig.serving.batching import BatchTimes
from pirig.sim import boot
from pirig.types import Metadata

_log = logging.getLogger(__name__)


class Site(Protocol):
    @property
    def policy(self) -> PolicySource: ...

    @property
    def metadata(self) -> Metadata:
        """What the policy reports about itself."""
        ...

    def count_workers(self, episodes: int) -> int:
        """Return how many workers are started for so many episodes; 0: they run in this process."""
        ...

    def factory(self, factory: LiberoWorkerFactory, workers: int) -> WorkerFactory:
        """Adapt the worker factory to this site: EGL devices, addresses of policy hosts."""
        ...

    def executor(self, workers: int, observer: Observer) -> Executor: ...

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        """Return what each policy host measured, as far as this site can tell."""
        ...

    def levers(self, workers: int, executor: Executor) -> Levers | None:
        """Return what autotune may set; None: nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class LocalSite:
    """Implements Site on this machine."""

    started: StartedPolicy
    workers: Workers
    places: places.Places

    @property
    def policy(self) -> PolicySource:
        return self.started.source

    @property
    def metadata(self) -> Metadata:
        return self.started.metadata

    def count_workers(self, episodes: int) -> int:
        return worker_count(self.workers.workers, episodes)

    def factory(self, factory: LiberoWorkerFactory, workers: int) -> WorkerFactory:
        return dataclasses.replace(factory, egl=tuple(place.egl for place in self.places.workers(max(1, workers))))

    def executor(self, workers: int, observer: Observer) -> Executor:
        if not workers:
            return SerialExecutor(observer.worker_ready, observer.started)
        return ProcessExecutor(
            workers,
            observer.worker_ready,
            observer.started,
            cores=[place.core for place in self.places.workers(workers) if place.core is not None],
            recycle_after=self.workers.recycle_after,
            max_memory_gib=self.workers.max_worker_memory_gib,
            job_timeout_s=self.workers.episode_timeout_s,
        )

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        return self.started.hosts.batches() if self.started.hosts else []

    def levers(self, workers: int, executor: Executor) -> Levers | None:
        if workers < 2 or not self.workers.autotune or not isinstance(executor, ProcessExecutor):
            return None
        hosts = self.started.hosts
        return Levers(
            workers=workers,
            cores=resources.cores(),
            room=resources.simulators,
            hosts=len(hosts.addresses) if hosts else 0,
            most_batch=self.started.max_batch,
            batches=self.batches,
            set_workers=executor.resize if self.workers.workers == "auto" else None,
            set_batch=hosts.limit_batches if hosts else None,
        )


@contextlib.contextmanager
def here(source: StartableSource, workers: Workers, renderer: str, episodes: int) -> Generator[LocalSite]:
    """Yield this machine, with a policy that workers can ask. Raises PirigError if the policy cannot be used.

    `renderer`: a name of gl.BACKENDS.
    """
    count = worker_count(workers.workers, episodes)
    is_alone = count == 0 and renderer != "egl"  # CUDA and EGL must not share a process
    found = places.look(workers.policy_hosts, device=source.device, renderer=renderer)
    if source.is_headless:
        _log.info("Running in HEADLESS mode - no WebSocket connection")
    with source.start(Room(found.hosts, count, is_alone, workers.max_batch)) as policy:
        yield LocalSite(policy, workers, found)


def worker_count(workers: int | Literal["auto"], episodes: int) -> int:
    """Return how many workers this machine gets for so many episodes; 0: the episodes run in this process."""
    if workers != "auto":
        return workers
    return max(1, min(resources.cores(), resources.simulators(), episodes))


def at(
    source: RemoteServers | HostedModel | Baseline, workers: Workers, simulation: boot.Settings, episodes: int
) -> "contextlib.AbstractContextManager[Site]":
    """Return the site that `workers` names, ready while a `with` block runs."""
    if workers.executor == "processes":
        return here(source, workers, simulation.gl, episodes)
    from pirig.launch import ray_cluster  # which imports Ray's part of `evaluation`

    return ray_cluster.site(source, workers, simulation)
