"""`pirig serve`: a policy over a WebSocket, for openpi's clients and ours."""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Literal

from pirig import envvars
from pirig.cli import args, console, source
from pirig.errors import ConfigError
from pirig.policies.wrappers import DefaultPrompt
from pirig.serving.server import PolicyServer

_log = logging.getLogger(__name__)
_DEFAULT_RECIPE = {"LIBERO": "pi05_libero"}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Serve a checkpoint."""

    config: str
    """recipe (openpi: train config), e.g. pi05_libero"""
    dir: str
    """directory of the checkpoint"""


@dataclasses.dataclass(frozen=True)
class Default:
    """Serve the published checkpoint of --env."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Serve a policy without a model."""

    name: str = "scripted"
    """scripted, zero, random or replay:RUN"""


@dataclasses.dataclass(frozen=True)
class ServeArgs:
    """Names and defaults are those of the reference's server."""

    env: Literal["LIBERO"] = "LIBERO"
    """decides the default checkpoint"""
    host: str = "0.0.0.0"
    port: int = 8000
    default_prompt: str | None = None
    """prompt for requests that have none"""
    runs: pathlib.Path = pathlib.Path("results/libero/runs")
    """where replay:RUN is looked up"""
    policy: Checkpoint | Default | Baseline = dataclasses.field(default_factory=Default)


def run(argv: Sequence[str]) -> int:
    """Serves until SIGINT or SIGTERM. Raises PirigError."""
    console.log_to_stderr()
    flags = args.parse(ServeArgs, argv, prog="pirig serve", description=__doc__ or "")
    if not isinstance(flags.policy, Baseline):
        wanted = flags.policy.config if isinstance(flags.policy, Checkpoint) else _DEFAULT_RECIPE[flags.env]
        raise ConfigError(source.no_backend(wanted))
    policy = source.PolicySource(flags.policy.name, flags.runs).open()
    if flags.default_prompt is not None:
        policy = DefaultPrompt(policy, flags.default_prompt)
    server = PolicyServer(policy, host=flags.host, port=flags.port, api_key=envvars.get("PIRIG_API_KEY"))
    server.run(lambda port: _log.info("serving policy %s on ws://%s:%d", policy.metadata["name"], flags.host, port))
    return 0
