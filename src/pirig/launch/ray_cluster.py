"""Run the episodes on a Ray cluster, for `pirig eval --executor ray`.

Each node finds or downloads once what a worker needs: LIBERO's assets are found and verified there, and checkpoints
come through `checkpoints/download.py` and its locks. Secrets (HF_TOKEN, PIRIG_API_KEY) are not sent to the nodes; set
them there.
"""

import contextlib
import dataclasses
import logging
import pathlib
import secrets
from collections.abc import Generator, Mapping, Sequence
from typing import Literal

from pirig import envvars
from pirig.errors import ConfigError, MissingResource
from pirig.evaluation.ray_executor import RayExecutor
from pirig.evaluation.ray_nodes import Nodes, connected
from pirig.evaluation.worker import EpisodeWorker
from pirig.interfaces import Executor, Observer, WorkerFactory
from pirig.launch import signals, simulator
from pirig.launch.model_loading import ModelRequest
from pirig.launch.observers.autotune import Levers
from pirig.launch.policy import Baseline, HostedModel, PolicySource, RemoteServers, Room
from pirig.launch.settings import Workers
from pirig.launch.worker import LiberoWorkerFactory
from pirig.machine import egl, gpus
from pirig.serving.batching import BatchTimes
from pirig.serving.host import THREADS, host_for_others
from pirig.serving.host_process import Door
from pirig.sim import assets, boot
from pirig.types import Metadata

_log = logging.getLogger(__name__)
_PASSED_ON = ("PIRIG_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "GOOGLE_BASE_URL")
_NO_ROOM = Room((), 0)  # baselines and servers need no policy hosts
_BATCH = 16  # --max-batch auto on a cluster, whose number of workers is not known yet


@dataclasses.dataclass(frozen=True)
class NodeFactory:
    """Build a worker on the node that calls it. Implements interfaces.WorkerFactory."""

    factory: LiberoWorkerFactory
    assets: str  # hash of LIBERO's files

    def __call__(self, index: int) -> EpisodeWorker:
        settings = simulator.settings(self.factory.settings.gl)
        if (found := assets.digest()) != self.assets:
            raise MissingResource(f"LIBERO's assets here are list {found[:12]}, the coordinator's {self.assets[:12]}")
        there = gpus.gpus() if settings.gl == "egl" and not envvars.get("MUJOCO_EGL_DEVICE_ID") else []
        pairs = egl.pair(egl.devices(), there) if there else {}
        devices = tuple(pairs.get(gpu.index) for gpu in there)
        return dataclasses.replace(self.factory, settings=settings, egl=devices)(index)


@dataclasses.dataclass(frozen=True)
class HostOfNode:
    """Bring the checkpoint to the node, and keep a policy host there. Implements ray_nodes.OpenHost."""

    model: ModelRequest
    max_batch: int | Literal["auto"]
    key: str  # API key that workers of other nodes send
    threads: Mapping[str, str | None]  # the coordinator's thread variables, which affect the last bits on a CPU

    def __call__(self) -> contextlib.AbstractContextManager[tuple[str, int, Metadata]]:
        envvars.restore(self.threads)  # Ray sets OMP_NUM_THREADS to 1
        load = self.model.prepare(self.max_batch, _BATCH)
        return host_for_others(load, Door(self.key))


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Implements site.Site on a Ray cluster."""

    policy: PolicySource
    metadata: Metadata
    workers: Workers
    nodes: Nodes

    def count_workers(self, episodes: int) -> int:
        cores = sum(node.cpus for node in self.nodes.usable())
        return max(1, min(episodes, cores if self.workers.workers == "auto" else self.workers.workers))

    def factory(self, factory: LiberoWorkerFactory, workers: int) -> WorkerFactory:
        return NodeFactory(dataclasses.replace(factory, videos={}, frames=None), assets.digest())

    def executor(self, workers: int, observer: Observer) -> Executor:
        return RayExecutor(
            self.nodes,
            _at_node,
            observer.worker_ready,
            observer.started,
            workers=None if self.workers.workers == "auto" else self.workers.workers,
            recycle_after=self.workers.recycle_after,
            max_memory_gib=self.workers.max_worker_memory_gib,
            job_timeout_s=self.workers.episode_timeout_s,
        )

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        return []

    def levers(self, workers: int, executor: Executor) -> Levers | None:
        return None  # the size of a cluster is chosen by who creates it


@contextlib.contextmanager
def site(
    source: RemoteServers | HostedModel | Baseline, workers: Workers, simulation: boot.Settings
) -> Generator[Cluster]:
    """Yield the cluster, connected, with the first policy host ready. Raises PirigError."""
    variables = {
        **boot.PROCESS_VARIABLES,
        "MUJOCO_GL": simulation.gl,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without a GPU from Ray may still render on one
        **{name: envvars.get(name) for name in _PASSED_ON if envvars.get(name)},
        **envvars.starting_with("OPENPI_DUQUANT_"),
    }
    envvars.export({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}, override=False)
    with contextlib.ExitStack() as stack:
        open_host = _host_of_node(source, workers.max_batch) if isinstance(source, HostedModel) else None
        stack.enter_context(connected(workers.ray_address, variables))
        signals.raise_interrupted()  # Ray has replaced the handlers
        policy = None if open_host else stack.enter_context(source.start(_NO_ROOM))
        if source.is_headless:
            _log.info("Running in HEADLESS mode - no WebSocket connection")
        nodes = stack.enter_context(contextlib.closing(Nodes(open_host)))
        if policy:
            yield Cluster(policy.source, policy.metadata, workers, nodes)
        elif open_host:
            yield Cluster(dataclasses.replace(source, key=open_host.key), nodes.wait(), workers, nodes)


def _host_of_node(source: HostedModel, max_batch: int | Literal["auto"]) -> HostOfNode:
    """Return the value that opens a policy host on a node."""
    model = source.model
    shared = dataclasses.replace(model.choice, quantize=_from_anywhere(model.choice.quantize))
    everywhere = ModelRequest(model.recipe, _from_anywhere(model.directory), shared)
    return HostOfNode(everywhere, max_batch, secrets.token_hex(16), envvars.snapshot(THREADS))


def _from_anywhere(path: str) -> str:
    """Return the absolute path of an existing file or folder, since nodes may share it; else the text unchanged."""
    return str(pathlib.Path(path).absolute()) if path and pathlib.Path(path).exists() else path


def _at_node(factory: WorkerFactory, addresses: Sequence[str]) -> WorkerFactory:
    if not isinstance(factory, NodeFactory):
        raise ConfigError(f"a worker of a node is made by a NodeFactory; found {type(factory).__name__}")
    policy = factory.factory.policy
    if not isinstance(policy, HostedModel):
        return factory
    hosted = dataclasses.replace(policy, hosts=tuple(addresses))
    return dataclasses.replace(factory, factory=dataclasses.replace(factory.factory, policy=hosted))
