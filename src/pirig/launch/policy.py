"""Open a run's policy in the process that asks it. A policy's source is one of four values, which travel to the
workers.

    RemoteServers  policy servers at ws:// addresses
    HostedModel    a model in policy hosts that this command started
    InProcess      a model that the only worker loads itself
    Baseline       a policy without a model, opened by each worker

Law 1: What `open` returns does not depend on the worker, except for the server or host that answers.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Generator, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from pirig import envvars, text
from pirig.errors import ConfigError, PeerError
from pirig.interfaces import Policy
from pirig.launch.model_loading import ModelRequest
from pirig.launch.settings import ModelChoice, PolicyChoice
from pirig.machine.placement import HostPlace
from pirig.policies import baselines
from pirig.policies.recipes import RECIPES
from pirig.results.store import RunStore
from pirig.serving.client import RemotePolicy, address
from pirig.serving.host import Hosts, hosts
from pirig.serving.host_policy import HostPolicy
from pirig.serving.limits import MIB
from pirig.types import EpisodeSpec, Metadata
from pirig.wire import protocol


class PolicySource(Protocol):
    """A source that opens a run's policy in the process that asks it."""

    @property
    def name(self) -> str:
        """What names the source: addresses, a recipe or a baseline."""
        ...

    @property
    def is_headless(self) -> bool:
        """Whether the policy runs in this command's own processes, without a policy server."""
        ...

    def open(self, worker_index: int) -> Policy:
        """Return the policy for one worker. Raises ConfigError, and StartError where nothing answers."""
        ...

    def identity(self, metadata: Metadata) -> str:
        """Return the policy's name in a run's configuration. `metadata`: what the policy says of itself."""
        ...


@dataclasses.dataclass(frozen=True)
class StartedPolicy:
    """A policy that workers can open now."""

    source: PolicySource
    metadata: Metadata  # as the policy reports them
    hosts: Hosts | None = None  # policy hosts that this command started
    max_batch: int = 1  # largest batch of a policy host


@dataclasses.dataclass(frozen=True)
class Room:
    """The part of this machine that a policy may use."""

    hosts: Sequence[HostPlace]  # of policy hosts
    workers: int  # number of workers; 0: only this process
    is_in_process: bool = False  # the model is computed in this process
    max_batch: int | Literal["auto"] = "auto"


class StartableSource(PolicySource, Protocol):
    """A source as the flags name it."""

    @property
    def device(self) -> str | None:
        """Device of the model that this command computes, empty where any will do; None: it computes no model."""
        ...

    def start(self, room: Room) -> contextlib.AbstractContextManager[StartedPolicy]:
        """Return the policy, ready for workers while the block runs. Raises PirigError for what is wrong with it."""
        ...


@dataclasses.dataclass(frozen=True)
class ClientLimits:
    """How long a client waits for a policy server, and how large an answer may be."""

    connect_timeout_s: float = 600.0
    request_timeout_s: float = 3600.0  # 0: none
    max_frame_mib: float = 32.0

    def connect(self, server: str, api_key: str) -> RemotePolicy:
        return RemotePolicy(
            server,
            None,
            api_key=api_key,
            connect_timeout_s=self.connect_timeout_s,
            request_timeout_s=self.request_timeout_s,
            max_bytes=int(self.max_frame_mib * MIB),
        )


@dataclasses.dataclass(frozen=True)
class RemoteServers:
    """Policy servers that serve one policy. Workers are distributed over them."""

    addresses: tuple[str, ...]
    limits: ClientLimits = ClientLimits()
    expected: Metadata | None = None  # the first server's answer
    port: int | None = None  # default port of the addresses
    is_headless = False
    device = None

    def __post_init__(self) -> None:
        """Complete the addresses. Raises ConfigError for an invalid one."""
        object.__setattr__(self, "addresses", tuple(address(part, self.port) for part in self.addresses))

    @property
    def name(self) -> str:
        return ",".join(self.addresses)

    @contextlib.contextmanager
    def start(self, room: Room) -> Generator[StartedPolicy]:
        first, *others = [_metadata(self, index) for index in range(len(self.addresses))]
        if different := [metadata for metadata in others if metadata != first]:
            raise ConfigError(f"{self.name} are not one policy: {first} and {different[0]}; name servers of one")
        yield StartedPolicy(dataclasses.replace(self, expected=first), first)

    def open(self, worker_index: int) -> RemotePolicy:
        """Connect to a server. Raises StartError if none answers, and PeerError if it serves another policy than at
        first.
        """
        server = self.addresses[worker_index % len(self.addresses)]
        policy = self.limits.connect(server, envvars.get("PIRIG_API_KEY"))
        # compared as frames, since metadata may hold arrays
        if self.expected is not None and protocol.greeting(policy.metadata) != protocol.greeting(self.expected):
            policy.close()
            raise PeerError(
                f"{policy.uri} came back as another policy: {dict(policy.metadata)}, and was {dict(self.expected)}; "
                "have the first one served, or start a new run"
            )
        return policy

    def identity(self, metadata: Metadata) -> str:
        """Return the policy's name if the server is pirig's, since it names its policy; else the servers' addresses."""
        is_ours = "checkpoint" in metadata or str(metadata.get("name")) in baselines.NAMES
        return str(metadata["name"]) if is_ours else self.name


@dataclasses.dataclass(frozen=True)
class HostedModel:
    """A model in policy hosts. Workers are distributed over them."""

    model: ModelRequest
    limits: ClientLimits = ClientLimits()
    hosts: tuple[str, ...] = ()  # socket files of this machine, or ws:// addresses in a cluster
    key: str = ""  # API key of policy hosts on other machines
    is_headless = True

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def device(self) -> str:
        return self.model.choice.device

    @contextlib.contextmanager
    def start(self, room: Room) -> Generator[StartedPolicy]:
        load = self.model.prepare(room.max_batch, -(-max(1, room.workers) // len(room.hosts)))
        if room.is_in_process:
            policy = load()
            yield StartedPolicy(InProcess(self.name, policy), policy.metadata, max_batch=load.max_batch)
            return
        with hosts([dataclasses.replace(load, place=place) for place in room.hosts]) as running:
            source = dataclasses.replace(self, hosts=running.addresses)
            yield StartedPolicy(source, running.metadata, running, load.max_batch)

    def open(self, worker_index: int) -> Policy:
        first = worker_index % len(self.hosts)
        if "://" in self.hosts[first]:
            return self.limits.connect(self.hosts[first], self.key)
        addresses = *self.hosts[first:], *self.hosts[:first]
        return HostPolicy(*addresses, request_timeout_s=self.limits.request_timeout_s)

    def identity(self, metadata: Metadata) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class InProcess:
    """A model in this process, which also runs the episodes."""

    name: str  # of its recipe
    policy: Policy
    is_headless = True

    def open(self, worker_index: int) -> Policy:
        return self.policy

    def identity(self, metadata: Metadata) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A policy without a model: scripted, zero, random or replay:RUN."""

    name: str
    runs: pathlib.Path  # where replay:RUN is looked up
    is_headless = True
    device = None

    @contextlib.contextmanager
    def start(self, room: Room) -> Generator[StartedPolicy]:
        yield StartedPolicy(self, _metadata(self, 0))

    def open(self, worker_index: int = 0) -> Policy:
        """Open the policy. Raises ConfigError for an unknown policy, and for a run that does not exist."""
        if self.name not in baselines.NAMES and not self.name.startswith("replay:"):
            raise ConfigError(text.unknown("policy", self.name, (*baselines.NAMES, *RECIPES)) + ", and ws://HOST:PORT")
        return baselines.make(self.name, self._recorded)

    def identity(self, metadata: Metadata) -> str:
        return self.name

    def _recorded(self, run: str) -> Mapping[EpisodeSpec, np.ndarray]:
        if not run:
            raise ConfigError("replay: names no run; expected replay:RUN, a name that pirig runs lists, or a folder")
        folder = pathlib.Path(run) if pathlib.Path(run).is_dir() else self.runs / run
        return {r.spec: r.actions for r in RunStore.read(folder).results() if r.status != "error"}


def source_of(choice: PolicyChoice, model: ModelChoice, runs: pathlib.Path) -> RemoteServers | HostedModel | Baseline:
    """Return the source that `choice` names. Nothing is opened or asked; a model has no hosts yet.

    `runs`: folder that replay:RUN is looked up in.
    """
    name, port = choice.policy, None
    if not name:
        name, port = (choice.policy_config, None) if choice.headless else (choice.host, choice.port)
    limits = ClientLimits(choice.connect_timeout_s, choice.request_timeout_s, choice.max_frame_mib)
    if "://" in name or port is not None:
        return RemoteServers(tuple(name.split(",")) if choice.policy else (name,), limits, port=port)
    if name in RECIPES:
        return HostedModel(ModelRequest(RECIPES[name], choice.policy_dir, model), limits)
    return Baseline(name, runs)


def _metadata(source: PolicySource, worker_index: int) -> Metadata:
    policy = source.open(worker_index)
    try:
        return dict(policy.metadata)
    finally:
        policy.close()
