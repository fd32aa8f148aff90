"""Where a policy comes from, as a value that travels to worker processes."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Generator, Mapping, Sequence

import numpy as np

from pirig import envvars
from pirig.cli import quantizing
from pirig.cli.eval_args import EvalArgs
from pirig.cli.fetching import bring
from pirig.cli.model_args import ModelArgs
from pirig.errors import ConfigError, PirigError, StartError
from pirig.interfaces import Policy
from pirig.machine.placement import ANYWHERE, HostPlace
from pirig.policies import baselines
from pirig.policies.factory import require_readers
from pirig.policies.recipes import RECIPES, recipe
from pirig.results.store import RunStore
from pirig.serving.client import RemotePolicy, address
from pirig.serving.host import Hosts, hosts
from pirig.serving.host_policy import HostPolicy
from pirig.serving.limits import MIB
from pirig.types import EpisodeSpec, Metadata
from pirig.wire import protocol

_log = logging.getLogger(__name__)
_THREADS_BESIDE_A_GPU = "2"  # of each policy host; the cores are the workers'


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A checkpoint and how it is computed. Calling it loads it and warms it up, in the process that does."""

    recipe: str
    directory: pathlib.Path
    flags: ModelArgs
    max_batch: int
    auto_batch: bool  # one at a time on a CPU, where a batch gains nothing, and bits then depend on no company
    pack: quantizing.Found | None = None  # quantized layers
    place: HostPlace = ANYWHERE

    def __call__(self) -> Policy:
        if self.place.gpu:
            envvars.export({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.place.gpu.uuid})
            envvars.export({"OMP_NUM_THREADS": _THREADS_BESIDE_A_GPU}, override=False)
        from pirig.policies import create_policy

        flags = self.flags
        policy = create_policy(
            self.recipe,
            self.directory,
            backend=flags.backend,
            dtype=flags.dtype,
            device=flags.device or None,
            trim=flags.trim,
            strict=flags.strict,
            compile=flags.compile,
            max_batch=self.max_batch,
            batch_on_cpu=not self.auto_batch,
            pack=self.pack.file if self.pack else None,
            configuration=self.pack.configuration if self.pack else None,
            kernel=flags.kernel,
        )
        if self.pack and self.pack.verbose:
            for name, error in policy.metadata["quantization"]["error"]["by_layer"].items():
                _log.info("%s: quantized, relative output error %.3g", name, error)
        _log.info("warmed up in %.1f s", policy.warm_up())
        return policy


@dataclasses.dataclass(frozen=True)
class PolicySource:
    """`name`: ws:// addresses (policy servers), a recipe, or a policy without a model, run by the workers."""

    name: str
    runs: pathlib.Path  # where replay:RUN is looked up
    connect_timeout_s: float = 600.0
    model: ModelSource | None = None
    hosts: tuple[str, ...] = ()  # addresses of the policy hosts that have the model
    opened: Policy | None = None  # in this process
    key: str = ""  # that policy hosts of other machines ask for
    request_timeout_s: float = 3600.0  # of a policy server or host; 0: none
    max_frame_mib: float = 32.0  # of its answers
    expected: Metadata | None = None  # of a policy server, once one has answered

    @property
    def headless(self) -> bool:
        """No socket."""
        return "://" not in self.name

    def open(self, index: int = 0) -> Policy:
        """`index`: of the worker; workers are dealt out over several servers, or policy hosts.

        Raises ConfigError for an unknown policy, StartError where no server answers, or another one than at first.
        """
        if not self.headless:
            servers, key = self.name.split(","), envvars.get("PIRIG_API_KEY")
            server = servers[index % len(servers)]
            return self._same(self._remote(server, key))
        if self.opened:
            return self.opened
        if self.hosts:
            own = index % len(self.hosts)
            if "://" in self.hosts[own]:
                return self._remote(self.hosts[own], self.key)
            addresses = *self.hosts[own:], *self.hosts[:own]
            return HostPolicy(*addresses, request_timeout_s=self.request_timeout_s)
        if self.model:
            return self.model()
        if self.name not in baselines.NAMES and not self.name.startswith("replay:"):
            known = ", ".join((*baselines.NAMES, *RECIPES))
            raise ConfigError(f"unknown policy {self.name!r}; there are: {known}, and ws://HOST:PORT")
        return baselines.make(self.name, self._recorded)

    @contextlib.contextmanager
    def started(
        self, *, in_process: bool, places: Sequence[HostPlace] = (ANYWHERE,)
    ) -> "Generator[tuple[PolicySource, Metadata, Hosts | None]]":
        """Has what workers open, the policy's metadata, and the policy hosts, while the block runs.

        `in_process`: the only worker will load the model itself. `places`: of hosts, which only a model needs.
        Raises what is wrong with the policy.
        """
        if self.model and not in_process:
            with hosts([dataclasses.replace(self.model, place=place) for place in places]) as running:
                yield dataclasses.replace(self, hosts=running.addresses), running.metadata, running
            return
        if self.model:
            opened = self.open()
            yield dataclasses.replace(self, opened=opened), opened.metadata, None
            return
        first, *others = [self._metadata(index) for index in range(self.name.count(",") + 1)]
        if different := [metadata for metadata in others if metadata != first]:
            raise ConfigError(f"{self.name} are not one policy: {first} and {different[0]}; name servers of one")
        yield dataclasses.replace(self, expected=None if self.headless else first), first, None

    def _remote(self, server: str, key: str) -> RemotePolicy:
        return RemotePolicy(
            server,
            None,
            api_key=key,
            connect_timeout_s=self.connect_timeout_s,
            request_timeout_s=self.request_timeout_s,
            max_bytes=int(self.max_frame_mib * MIB),
        )

    def _same(self, policy: RemotePolicy) -> RemotePolicy:
        """A client holds its server to what it first said of itself; this does so for clients that come later."""
        # as frames, since metadata may hold arrays
        if self.expected is not None and protocol.greeting(policy.metadata) != protocol.greeting(self.expected):
            policy.close()
            raise StartError(
                f"{policy.uri} came back as another policy: {dict(policy.metadata)}, and was {dict(self.expected)}; "
                "have the first one served, or start a new run"
            )
        return policy

    def _metadata(self, index: int) -> Metadata:
        opened = self.open(index)
        try:
            return dict(opened.metadata)
        finally:
            if close := getattr(opened, "close", None):
                close()

    def identity(self, metadata: Metadata) -> str:
        """Names the policy in a run's configuration. A server of ours says what it has, wherever it is."""
        ours = "checkpoint" in metadata or str(metadata.get("name")) in baselines.NAMES
        return self.name if self.headless or not ours else str(metadata["name"])

    def _recorded(self, run: str) -> Mapping[EpisodeSpec, np.ndarray]:
        if not run:
            raise ConfigError("replay: names no run; expected replay:RUN, a name that pirig runs lists, or a folder")
        folder = pathlib.Path(run) if pathlib.Path(run).is_dir() else self.runs / run
        return {r.spec: r.actions for r in RunStore.read(folder).results() if r.status != "error"}


def model_source(name: str, directory: str, flags: ModelArgs, *, max_batch: int, auto: bool) -> ModelSource:
    """Finds the checkpoint of a recipe: `directory`, or the published one, fetched where it is not there yet.

    `auto`: nobody asked for this `max_batch`.
    Raises ConfigError for an unknown recipe, and for one that nobody has published a checkpoint of.
    """
    from pirig.checkpoints import assets

    place = checkpoint_of(name, directory, max_batch)
    quantizing.checked(name, flags)  # before hours of downloading
    found = bring(place)
    file = assets.tokenizer_file(envvars.data_home())
    try:
        if not file.is_file():
            bring(assets.TOKENIZER)
    except PirigError as e:
        raise StartError(f"there is no tokenizer at {file}, and it cannot be fetched: {e}; copy it there") from e
    return ModelSource(name, found, flags, max_batch, auto, quantizing.pack_for(name, found, flags))


def checkpoint_of(name: str, directory: str, max_batch: int) -> str:
    """Path or address of a recipe's checkpoint. Asks no network. Raises as `model_source`."""
    require_readers()
    row = recipe(name)
    if max_batch < 1:
        raise ConfigError(f"--max-batch is {max_batch}; at least 1 is needed")
    if not directory and not row.checkpoint:
        raise ConfigError(
            f"nobody has published a checkpoint of {name}; name a directory, or make one: "
            f"pirig checkpoint random {name} DIRECTORY"
        )
    return directory or row.checkpoint


def named(policy: str) -> str:
    """A source's name; addresses of servers in full."""
    return ",".join(address(part, None) for part in policy.split(",")) if "://" in policy else policy


def chosen(flags: EvalArgs) -> str:
    """The source's name: --policy where given, else the recipe in headless mode, else the server's address."""
    if flags.policy:
        return named(flags.policy)
    return flags.policy_config if flags.headless else address(flags.host, flags.port)


def is_model(name: str) -> bool:
    return name in RECIPES
