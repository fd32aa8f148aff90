"""Serve a policy over a WebSocket, for openpi's and pirig's clients (`pirig serve`)."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import Annotated, Literal

import tyro

from pirig import envvars
from pirig.errors import ConfigError
from pirig.interfaces import Policy
from pirig.launch import logs, packs, signals
from pirig.launch.model_loading import ModelRequest
from pirig.launch.policy import Baseline
from pirig.launch.settings import DEFAULT_IN_HELP, RECIPE, RESULTS, ModelChoice
from pirig.policies.recipes import recipe
from pirig.policies.wrappers import DefaultPrompt
from pirig.serving.heap import keep_freed_memory
from pirig.serving.limits import Limits
from pirig.serving.server import PolicyServer

_log = logging.getLogger(__name__)
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_DEFAULT_RECIPE = {"LIBERO": RECIPE}
_AUTO_BATCH = 8  # --max-batch auto on an accelerator


@dataclasses.dataclass(frozen=True)
class CheckpointChoice:
    """Serve a checkpoint."""

    config: str
    """Recipe (openpi: train config), e.g. pi05_libero."""
    dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Checkpoint: a directory, or a gs://, hf:// or https:// address; default: the published one."""


@dataclasses.dataclass(frozen=True)
class DefaultChoice:
    """Serve the published checkpoint of --env."""


@dataclasses.dataclass(frozen=True)
class BaselineChoice:
    """Serve a policy without a model."""

    name: str = "scripted"
    """scripted, zero, random or replay:RUN."""


@dataclasses.dataclass(frozen=True)
class ServeArgs:
    """Flags of `pirig serve`. Names and defaults are those of openpi's server, except for the host: openpi listens
    on all addresses.
    """

    env: Literal["LIBERO"] = "LIBERO"
    """Environment that the default checkpoint is for."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 listens on all addresses of this machine, so other machines can connect (see
    PIRIG_API_KEY)."""
    port: int = 8000
    """TCP port to listen on; 0: any free port."""
    default_prompt: Annotated[str | None, DEFAULT_IN_HELP] = None
    """Prompt for requests without one; default: none."""
    results: pathlib.Path = RESULTS
    """Results folder. The run of replay:RUN is looked up in its folder runs."""
    max_batch: int | Literal["auto"] = "auto"
    """Largest number of requests that are computed together. auto: 8 on an accelerator, 1 on a CPU."""
    prepare: bool = False
    """Fetch the checkpoint and make the pack if they are missing, and exit."""
    limits: tyro.conf.OmitArgPrefixes[Limits] = dataclasses.field(default_factory=Limits)
    model: tyro.conf.OmitArgPrefixes[ModelChoice] = dataclasses.field(default_factory=ModelChoice)
    policy: (
        Annotated[CheckpointChoice, tyro.conf.subcommand("checkpoint")]
        | Annotated[DefaultChoice, tyro.conf.subcommand("default")]
        | Annotated[BaselineChoice, tyro.conf.subcommand("baseline")]
    ) = dataclasses.field(default_factory=DefaultChoice)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port is {self.port}; expected 1 to 65535, or 0 for any that is free")
        if self.max_batch != "auto" and self.max_batch < 1:
            raise ConfigError(f"--max-batch is {self.max_batch}; at least 1 is needed")


def run(flags: ServeArgs) -> int:
    """Serve until SIGINT or SIGTERM. Raises PirigError."""
    logs.log_to_stderr()
    signals.raise_interrupted()  # for the time until the server installs its own handlers
    if listing := _listing(flags):
        print(listing)
        return 0
    open_policy = _source(flags)
    if flags.prepare:
        return 0
    policy = open_policy()
    packs.check_done(flags.model, policy.metadata)
    if flags.default_prompt is not None:
        policy = DefaultPrompt(policy, flags.default_prompt)
    keep_freed_memory()
    key = envvars.get("PIRIG_API_KEY")
    server = PolicyServer(policy, host=flags.host, port=flags.port, api_key=key, limits=flags.limits)
    if not key and flags.host not in _THIS_MACHINE:
        _log.warning("whoever reaches %s:%d may ask this policy; PIRIG_API_KEY sets a key", flags.host, flags.port)
    server.run(lambda port: _log.info("serving policy %s on ws://%s:%d", policy.metadata["name"], flags.host, port))
    return 0


def _recipe(flags: ServeArgs) -> tuple[str, str] | None:
    """Return recipe and checkpoint directory of the served model; None for a policy without a model."""
    match flags.policy:
        case BaselineChoice():
            return None
        case CheckpointChoice(config, directory):
            return config, directory
        case DefaultChoice():
            return _DEFAULT_RECIPE[flags.env], ""


def _listing(flags: ServeArgs) -> str:
    """Return the layers to quantize, if OPENPI_DUQUANT_DRYRUN asks for the list instead of a server."""
    model = _recipe(flags)
    return packs.requested_listing(model[0], flags.model) if model else ""


def _source(flags: ServeArgs) -> Callable[[], Policy]:
    """Return a function that loads the policy, after everything that it needs is on this machine."""
    if isinstance(flags.policy, BaselineChoice):
        return Baseline(flags.policy.name, flags.results / "runs").open
    model = _recipe(flags)
    assert model
    name, directory = model
    return ModelRequest(recipe(name), directory, flags.model).prepare(flags.max_batch, _AUTO_BATCH)
