"""Where a run's policy comes from: one of four values, which travel to the worker processes.

    RemoteServers  policy servers at ws:// addresses
    HostedModel    a model in policy hosts that this command started
    InProcess      a model that the only worker loads itself
    Baseline       a policy without a model, opened by each worker

Law: what `open` returns does not depend on the worker, except for the server or host that answers.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

import numpy as np

from pirig import envvars, text
from pirig.errors import ConfigError, StartError
from pirig.interfaces import Policy
from pirig.launch.model_loading import ModelLoader, is_model
from pirig.launch.settings import PolicyChoice
from pirig.machine.placement import ANYWHERE, HostPlace
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
    """Opens a run's policy in the process that asks it."""

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
    """Policy servers that have one policy; workers are dealt out over them."""

    addresses: tuple[str, ...]
    limits: ClientLimits = ClientLimits()
    expected: Metadata | None = None  # what the first server said of its policy, once one has answered
    is_headless = False

    @property
    def name(self) -> str:
        return ",".join(self.addresses)

    def open(self, worker_index: int) -> RemotePolicy:
        """Raises StartError where no server answers, and where it serves another policy than it first did."""
        server = self.addresses[worker_index % len(self.addresses)]
        policy = self.limits.connect(server, envvars.get("PIRIG_API_KEY"))
        # compared as frames, since metadata may hold arrays
        if self.expected is not None and protocol.greeting(policy.metadata) != protocol.greeting(self.expected):
            policy.close()
            raise StartError(
                f"{policy.uri} came back as another policy: {dict(policy.metadata)}, and was {dict(self.expected)}; "
                "have the first one served, or start a new run"
            )
        return policy

    def identity(self, metadata: Metadata) -> str:
        """A server of pirig's says which policy it has, wherever it runs; another's address has to name it."""
        is_ours = "checkpoint" in metadata or str(metadata.get("name")) in baselines.NAMES
        return str(metadata["name"]) if is_ours else self.name


@dataclasses.dataclass(frozen=True)
class HostedModel:
    """A model in policy hosts; workers are dealt out over them."""

    recipe: str
    hosts: tuple[str, ...] = ()  # socket files of this machine, or ws:// addresses in a cluster
    key: str = ""  # that policy hosts of other machines ask for
    limits: ClientLimits = ClientLimits()
    is_headless = True

    @property
    def name(self) -> str:
        return self.recipe

    def open(self, worker_index: int) -> Policy:
        first = worker_index % len(self.hosts)
        if "://" in self.hosts[first]:
            return self.limits.connect(self.hosts[first], self.key)
        addresses = *self.hosts[first:], *self.hosts[:first]
        return HostPolicy(*addresses, request_timeout_s=self.limits.request_timeout_s)

    def identity(self, metadata: Metadata) -> str:
        return self.recipe


@dataclasses.dataclass(frozen=True)
class InProcess:
    """A model in this process, which runs the episodes too."""

    recipe: str
    policy: Policy
    is_headless = True

    @property
    def name(self) -> str:
        return self.recipe

    def open(self, worker_index: int) -> Policy:
        return self.policy

    def identity(self, metadata: Metadata) -> str:
        return self.recipe


@dataclasses.dataclass(frozen=True)
class Baseline:
    """scripted, zero, random or replay:RUN."""

    name: str
    runs: pathlib.Path  # where replay:RUN is looked up
    is_headless = True

    def open(self, worker_index: int = 0) -> Policy:
        """Raises ConfigError for an unknown policy, and for a run that does not exist."""
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


@dataclasses.dataclass(frozen=True)
class StartedPolicy:
    """A policy that workers can open now."""

    source: PolicySource
    metadata: Metadata  # what the policy says of itself
    hosts: Hosts | None = None  # policy hosts, where this command started any


def source_of(choice: PolicyChoice, runs: pathlib.Path) -> RemoteServers | HostedModel | Baseline:
    """Return the source that `choice` names. Nothing is opened or asked; a model has no hosts yet."""
    name = _name(choice)
    limits = ClientLimits(choice.connect_timeout_s, choice.request_timeout_s, choice.max_frame_mib)
    if "://" in name:
        return RemoteServers(tuple(address(part, None) for part in name.split(",")), limits)
    return HostedModel(name, limits=limits) if is_model(name) else Baseline(name, runs)


@contextlib.contextmanager
def started(
    source: RemoteServers | HostedModel | Baseline,
    load: ModelLoader | None,
    *,
    in_process: bool,
    places: Sequence[HostPlace] = (ANYWHERE,),
) -> Generator[StartedPolicy]:
    """Yield the policy, ready for workers; policy hosts run until the block ends.

    `load`: of a HostedModel. `in_process`: the only worker runs in this process, and the model with it. `places`: of
    policy hosts. Raises PirigError for what is wrong with the policy.
    """
    if isinstance(source, HostedModel):
        assert load is not None
        if in_process:
            policy = load()
            yield StartedPolicy(InProcess(source.recipe, policy), policy.metadata)
            return
        with hosts([dataclasses.replace(load, place=place) for place in places]) as running:
            yield StartedPolicy(dataclasses.replace(source, hosts=running.addresses), running.metadata, running)
        return
    if isinstance(source, Baseline):
        yield StartedPolicy(source, _metadata(source, 0))
        return
    first, *others = [_metadata(source, index) for index in range(len(source.addresses))]
    if different := [metadata for metadata in others if metadata != first]:
        raise ConfigError(f"{source.name} are not one policy: {first} and {different[0]}; name servers of one")
    yield StartedPolicy(dataclasses.replace(source, expected=first), first)


def _name(choice: PolicyChoice) -> str:
    """--policy where it is given, else the recipe in headless mode, else the server's address."""
    if choice.policy:
        return choice.policy
    return choice.policy_config if choice.headless else address(choice.host, choice.port)


def _metadata(source: PolicySource, worker_index: int) -> Metadata:
    policy = source.open(worker_index)
    try:
        return dict(policy.metadata)
    finally:
        policy.close()
