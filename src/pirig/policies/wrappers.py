"""Policies around policies."""

from typing import Any

from pirig.interfaces import Policy
from pirig.types import Metadata, Observation


class DefaultPrompt:
    """Gives `prompt` to observations that have none."""

    def __init__(self, policy: Policy, prompt: str):
        self._policy, self._prompt = policy, prompt

    @property
    def metadata(self) -> Metadata:
        return self._policy.metadata

    def infer(self, obs: Observation) -> dict[str, Any]:
        return self._policy.infer(obs if "prompt" in obs else {**obs, "prompt": self._prompt})
