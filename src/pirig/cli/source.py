"""Where a policy comes from, as a value that travels to worker processes."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from pirig import envvars
from pirig.errors import ConfigError
from pirig.interfaces import Policy
from pirig.policies import baselines
from pirig.results.store import RunStore
from pirig.serving.client import RemotePolicy, address
from pirig.types import EpisodeSpec

_RECIPES = ("pi05_libero", "pi0_libero")


@dataclasses.dataclass(frozen=True)
class PolicySource:
    """`name`: a ws:// address (a policy server) or the name of a policy that runs in the worker itself."""

    name: str
    runs: pathlib.Path  # where replay:RUN is looked up
    connect_timeout_s: float = 600.0

    @property
    def headless(self) -> bool:
        """No socket."""
        return "://" not in self.name

    def open(self) -> Policy:
        """Raises ConfigError for an unknown policy, StartError where no server answers."""
        if not self.headless:
            key = envvars.get("PIRIG_API_KEY")
            return RemotePolicy(self.name, None, api_key=key, connect_timeout_s=self.connect_timeout_s)
        if self.name in _RECIPES:
            raise ConfigError(no_backend(self.name))
        return baselines.make(self.name, self._recorded)

    def _recorded(self, run: str) -> Mapping[EpisodeSpec, np.ndarray]:
        folder = pathlib.Path(run) if pathlib.Path(run).is_dir() else self.runs / run
        return {r.spec: r.actions for r in RunStore.read(folder).results() if r.status != "error"}


def no_backend(recipe: str) -> str:
    return (
        f"policy {recipe!r} needs a model backend (jax or torch), which this version of pirig does not have yet; "
        f"there are: {', '.join(baselines.NAMES)}, and ws://HOST:PORT for any openpi policy server"
    )


def choose(policy: str, *, headless: bool, policy_config: str, host: str, port: int) -> str:
    """The source's name: --policy where given, else the recipe in headless mode, else the server's address."""
    if policy:
        return address(policy, None) if "://" in policy else policy
    return policy_config if headless else address(host, port)
