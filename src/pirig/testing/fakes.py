"""Fakes of the parts, for tests of everything around them. They keep the laws of the interfaces that they implement,
so a test that passes with a fake says something about the real part.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pirig import seeding
from pirig.types import EpisodeResult, EpisodeSpec, Job, Metadata, Observation, Step, Video


class FakeEnvironment:
    """Implements interfaces.Environment: a scene with no physics and no graphics.

    An episode succeeds once the summed first action coordinate passes a goal that depends on task and trial.
    """

    looked = 0  # observations made, over all instances: rendering is what a caller should save
    rendering_s = 0.0

    def reset(self, spec: EpisodeSpec, look: Collection[str] = ()) -> Step:
        self._spec, self._position, self._time = spec, 0.0, 0
        self._goal = 1.0 + spec.task_id + abs(float(seeding.noise(spec.key, (1,))[0]))
        return self._step(look)

    def step(self, action: np.ndarray, look: Collection[str] = ()) -> Step:
        self._position, self._time = self._position + float(action[0]), self._time + 1
        return self._step(look)

    def state_hash(self) -> str:
        state = np.array([self._position, self._time, self._goal])
        return hashlib.blake2b(state.tobytes(), digest_size=16).hexdigest()

    def close(self) -> None:
        pass

    def _step(self, look: Collection[str]) -> Step:
        observation: Observation = {"prompt": "push the number up"}
        for key in look:
            FakeEnvironment.looked += 1
            observation[key] = np.full(8, self._position) if key.endswith("state") else self._image()
        return Step(observation, success=self._position >= self._goal)

    def _image(self) -> np.ndarray:
        return np.full((16, 16, 3), self._time % 256, np.uint8)


class FakePolicy:
    """Implements interfaces.Policy: pushes the fake scene's number by `push` a step, and records its requests."""

    max_batch = 1

    def __init__(self, push: float = 0.0, **answer: Any):
        """`answer`: other keys of each answer, beside `actions`."""
        self.metadata: Metadata = {"name": "fake"}
        self.push, self.answer = push, answer
        self.requests: list[Observation] = []

    def infer(self, obs: Observation) -> dict[str, Any]:
        self.requests.append(obs)
        actions = np.zeros((10, 7))
        actions[:, 0] = self.push
        return {"actions": actions, **self.answer}

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        return [self.infer(obs) for obs in observations]

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class FunctionWorker:
    """Implements interfaces.Worker with a function of a job."""

    do: Callable[[Job], EpisodeResult | Video]
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, job: Job, /) -> EpisodeResult | Video:
        return self.do(job)

    def close(self) -> None:
        pass
