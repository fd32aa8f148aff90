"""Define a base class for policies that are computed one by one, and a wrapper that adds a default prompt."""

from collections.abc import Sequence
from typing import Any

from pirig.interfaces import Policy
from pirig.types import Metadata, Observation


class OneByOne:
    """OneByOne is a base class for policies that gain nothing from batching and hold no resources to close."""

    max_batch = 1

    def infer_batch(self: Policy, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        return [self.infer(obs) for obs in observations]

    def close(self) -> None:
        pass


class DefaultPrompt:
    """DefaultPrompt wraps a policy and adds `prompt` to observations that have none."""

    def __init__(self, policy: Policy, prompt: str):
        self._policy, self._prompt = policy, prompt

    @property
    def metadata(self) -> Metadata:
        return self._policy.metadata

    @property
    def max_batch(self) -> int:
        return self._policy.max_batch

    def infer(self, obs: Observation) -> dict[str, Any]:
        return self._policy.infer(self._with_prompt(obs))

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        return self._policy.infer_batch([self._with_prompt(obs) for obs in observations])

    def close(self) -> None:
        self._policy.close()

    def _with_prompt(self, obs: Observation) -> Observation:
        return obs if "prompt" in obs else {**obs, "prompt": self._prompt}
