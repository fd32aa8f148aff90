"""Where a command's episodes run: this machine, with its cores and GPUs, or a Ray cluster.

Law: a site decides where and when; run, results and bits are the same.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Generator, Mapping
from typing import Protocol

from pirig.cli import places, source
from pirig.cli.autotune import Levers
from pirig.cli.eval_args import EvalArgs
from pirig.cli.source import PolicySource
from pirig.cli.worker import LiberoWorkerFactory
from pirig.errors import ConfigError
from pirig.evaluation.executors import OnReady, OnStart, ProcessExecutor, SerialExecutor
from pirig.interfaces import Executor, WorkerFactory
from pirig.machine import resources
from pirig.serving.batching import BatchTimes
from pirig.serving.host import Hosts
from pirig.sim import boot
from pirig.types import Metadata

_log = logging.getLogger(__name__)


class Site(Protocol):
    @property
    def policy(self) -> PolicySource: ...

    @property
    def metadata(self) -> Metadata:
        """The policy's."""
        ...

    def workers(self, episodes: int) -> int:
        """How many it will start for so many episodes; 0: they run in this process."""
        ...

    def factory(self, factory: LiberoWorkerFactory, workers: int) -> WorkerFactory:
        """As the workers of this site make it their own."""
        ...

    def executor(self, workers: int, on_ready: OnReady, on_start: OnStart) -> Executor: ...

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        """What each policy host measured, as far as this site can tell."""
        ...

    def levers(self, workers: int, executor: Executor) -> Levers | None:
        """What there is to tune; None: nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Here:
    """Implements Site."""

    policy: PolicySource
    metadata: Metadata
    flags: EvalArgs
    places: places.Places
    hosts: Hosts | None
    most_batch: int  # of a host

    def workers(self, episodes: int) -> int:
        return worker_count(self.flags, episodes)

    def factory(self, factory: LiberoWorkerFactory, workers: int) -> WorkerFactory:
        return dataclasses.replace(factory, egl=tuple(place.egl for place in self.places.workers(max(1, workers))))

    def executor(self, workers: int, on_ready: OnReady, on_start: OnStart) -> Executor:
        if not workers:
            return SerialExecutor(on_ready, on_start)
        return ProcessExecutor(
            workers,
            on_ready,
            on_start,
            cores=[place.core for place in self.places.workers(workers) if place.core is not None],
            recycle_after=self.flags.recycle_after,
            max_memory_gib=self.flags.max_worker_memory_gib,
            job_timeout_s=self.flags.episode_timeout_s,
        )

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        return self.hosts.batches() if self.hosts else []

    def levers(self, workers: int, executor: Executor) -> Levers | None:
        if workers < 2 or not self.flags.autotune or not isinstance(executor, ProcessExecutor):
            return None
        return Levers(
            workers=workers,
            cores=resources.cores(),
            room=resources.simulators,
            hosts=len(self.hosts.addresses) if self.hosts else 0,
            most_batch=self.most_batch,
            batches=self.batches,
            set_workers=executor.resize if self.flags.workers == "auto" else None,
            set_batch=self.hosts.limit_batches if self.hosts else None,
        )


@contextlib.contextmanager
def here(flags: EvalArgs, settings: boot.Settings, episodes: int) -> Generator[Here]:
    """Has the policy where workers can ask it, while the block runs. Raises what is wrong with it."""
    workers = worker_count(flags, episodes)
    name = source.chosen(flags)
    found = places.look(flags, renderer=settings.gl, has_model=source.is_model(name))
    in_process = workers == 0 and settings.gl != "egl"  # CUDA and EGL must not share a process
    model, most = None, 1
    if source.is_model(name):
        auto = flags.max_batch == "auto"
        most = -(-max(1, workers) // len(found.hosts)) if flags.max_batch == "auto" else flags.max_batch
        model = source.model_source(name, flags.policy_dir, flags.model, max_batch=most, auto=auto)
    chosen = PolicySource(
        name,
        flags.results_out_path / "runs",
        flags.connect_timeout_s,
        model,
        request_timeout_s=flags.request_timeout_s,
        max_frame_mib=flags.max_frame_mib,
    )
    if chosen.headless:
        _log.info("Running in HEADLESS mode - no WebSocket connection")
    with chosen.started(in_process=in_process, places=found.hosts) as (policy, metadata, hosts):
        yield Here(policy, metadata, flags, found, hosts, most)


def worker_count(flags: EvalArgs, episodes: int) -> int:
    """Of this machine; 0: they run in this process."""
    if flags.workers != "auto":
        return flags.workers
    return max(1, min(resources.cores(), resources.simulators(), episodes))


def at(flags: EvalArgs, settings: boot.Settings, episodes: int) -> "contextlib.AbstractContextManager[Site]":
    """The site that the flags name. Raises ConfigError where they do not go together."""
    check(flags)
    if flags.executor == "processes":
        return here(flags, settings, episodes)
    from pirig.cli import cluster  # which is there for Ray alone

    return cluster.site(flags, settings)


def check(flags: EvalArgs) -> None:
    """Raises ConfigError where the flags do not go together."""
    if flags.executor == "processes":
        return
    if flags.workers == 0:
        raise ConfigError("--workers 0 runs everything in this process, which --executor ray does not; leave one out")
    if flags.policy_hosts != "auto":
        raise ConfigError("--policy-hosts is of one machine; on a Ray cluster each GPU, or each node, has one")
