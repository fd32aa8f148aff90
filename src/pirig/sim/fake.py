"""A scene with no physics and no graphics, for tests of everything around a simulator.

Succeeds once the summed first action coordinate passes a goal that depends on task and trial. Keeps the laws of an
Environment, so that a test which passes with it says something about the real one.
"""

import hashlib
from collections.abc import Collection

import numpy as np

from pirig import seeding
from pirig.types import EpisodeSpec, Observation, Step


class FakeEnvironment:
    looked = 0  # observations made, over all instances: rendering is what a caller should save

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
