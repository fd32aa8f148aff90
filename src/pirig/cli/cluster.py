"""`pirig eval --executor ray`: the site that is a Ray cluster.

Each node has what a worker needs, or fetches it once: LIBERO's assets are looked up and verified there, checkpoints
come through `checkpoints/download.py` and its locks. Secrets (HF_TOKEN, PIRIG_API_KEY) are the nodes' own business.
"""

import contextlib
import dataclasses
import logging
import pathlib
import secrets
from collections.abc import Generator, Mapping, Sequence

from pirig import envvars
from pirig.cli import signals, simulator, source
from pirig.cli.autotune import Levers
from pirig.cli.eval_args import EvalArgs
from pirig.cli.model_args import ModelArgs
from pirig.cli.source import PolicySource
from pirig.cli.worker import LiberoWorkerFactory
from pirig.errors import ConfigError, StartError
from pirig.evaluation.executors import OnReady, OnStart
from pirig.evaluation.ray_executor import RayExecutor
from pirig.evaluation.ray_nodes import Nodes, connected
from pirig.evaluation.worker import EpisodeWorker
from pirig.interfaces import Executor, WorkerFactory
from pirig.machine import egl, gpus
from pirig.serving.batching import BatchTimes
from pirig.serving.host import THREADS, host_for_others
from pirig.serving.host_process import Door
from pirig.sim import assets, boot
from pirig.types import Metadata

_log = logging.getLogger(__name__)
_PASSED_ON = ("PIRIG_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "GOOGLE_BASE_URL")
_BATCH = 16  # most observations at once, of a policy host whose workers nobody has counted yet


@dataclasses.dataclass(frozen=True)
class NodeFactory:
    """Implements interfaces.WorkerFactory: a worker of the node that calls it."""

    factory: LiberoWorkerFactory
    assets: str  # hash of LIBERO's files

    def __call__(self, index: int) -> EpisodeWorker:
        settings = simulator.settings(self.factory.settings.gl)
        if (found := assets.digest()) != self.assets:
            raise StartError(f"LIBERO's assets here are list {found[:12]}, the coordinator's {self.assets[:12]}")
        there = gpus.gpus() if settings.gl == "egl" and not envvars.get("MUJOCO_EGL_DEVICE_ID") else []
        pairs = egl.pair(egl.devices(), there) if there else {}
        devices = tuple(pairs.get(gpu.index) for gpu in there)
        return dataclasses.replace(self.factory, settings=settings, egl=devices)(index)


@dataclasses.dataclass(frozen=True)
class HostOfNode:
    """A ray_nodes.OpenHost: brings the checkpoint to the node, and keeps a policy host there."""

    recipe: str
    directory: str  # or address; empty: the published checkpoint
    model: ModelArgs
    max_batch: int
    auto_batch: bool
    key: str  # that workers of other nodes send
    threads: Mapping[str, str | None]  # the coordinator's variables for them, which decide last bits on a CPU

    def __call__(self) -> contextlib.AbstractContextManager[tuple[str, int, Metadata]]:
        envvars.restore(self.threads)  # Ray says 1
        model = source.model_source(
            self.recipe, self.directory, self.model, max_batch=self.max_batch, auto=self.auto_batch
        )
        return host_for_others(model, Door(self.key))


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Implements sites.Site."""

    policy: PolicySource
    metadata: Metadata
    flags: EvalArgs
    nodes: Nodes

    def workers(self, episodes: int) -> int:
        cores = sum(node.cpus for node in self.nodes.usable())
        return max(1, min(episodes, cores if self.flags.workers == "auto" else self.flags.workers))

    def factory(self, factory: LiberoWorkerFactory, workers: int) -> WorkerFactory:
        return NodeFactory(dataclasses.replace(factory, videos={}, frames=None), assets.digest())

    def executor(self, workers: int, on_ready: OnReady, on_start: OnStart) -> Executor:
        return RayExecutor(
            self.nodes,
            _at_node,
            on_ready,
            on_start,
            workers=None if self.flags.workers == "auto" else self.flags.workers,
            recycle_after=self.flags.recycle_after,
            max_memory_gib=self.flags.max_worker_memory_gib,
            job_timeout_s=self.flags.episode_timeout_s,
        )

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        return []

    def levers(self, workers: int, executor: Executor) -> Levers | None:
        return None  # a cluster's cores were asked for by whoever made it


@contextlib.contextmanager
def site(flags: EvalArgs, settings: boot.Settings) -> Generator[Cluster]:
    """Connected to the cluster, with the first policy host ready, while the block runs. Raises PirigError."""
    name, key = source.chosen(flags), secrets.token_hex(16)
    variables = {
        **boot.PROCESS_VARIABLES,
        "MUJOCO_GL": settings.gl,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without a GPU of Ray's may render on one
        **{name: envvars.get(name) for name in _PASSED_ON if envvars.get(name)},
        **envvars.starting_with("OPENPI_DUQUANT_"),
    }
    envvars.export({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}, override=False)
    with connected(flags.ray_address, variables):
        signals.raise_interrupted()  # Ray has a handler of its own
        open_host = None
        if source.is_model(name):
            auto = flags.max_batch == "auto"
            most = _BATCH if flags.max_batch == "auto" else flags.max_batch
            model = dataclasses.replace(flags.model, quantize=_from_anywhere(flags.model.quantize))
            threads = envvars.snapshot(THREADS)
            open_host = HostOfNode(name, _from_anywhere(flags.policy_dir), model, most, auto, key, threads)
        nodes = Nodes(open_host)
        try:
            runs = flags.results_out_path / "runs"
            policy = PolicySource(
                name,
                runs,
                flags.connect_timeout_s,
                request_timeout_s=flags.request_timeout_s,
                max_frame_mib=flags.max_frame_mib,
                key=key if open_host else "",
            )
            if policy.headless:
                _log.info("Running in HEADLESS mode - no WebSocket connection")
            if open_host:
                yield Cluster(policy, nodes.wait(), flags, nodes)
            else:
                with policy.started(in_process=False) as (opened, metadata, _):
                    yield Cluster(opened, metadata, flags, nodes)
        finally:
            nodes.close()


def _from_anywhere(path: str) -> str:
    """A file or folder that is here with its whole path, as nodes that share it have it; else what it is."""
    return str(pathlib.Path(path).absolute()) if path and pathlib.Path(path).exists() else path


def _at_node(factory: WorkerFactory, addresses: Sequence[str]) -> WorkerFactory:
    if not isinstance(factory, NodeFactory):
        raise ConfigError(f"a worker of a node is made by a NodeFactory; found {type(factory).__name__}")
    policy = dataclasses.replace(factory.factory.policy, hosts=tuple(addresses))
    return dataclasses.replace(factory, factory=dataclasses.replace(factory.factory, policy=policy))
