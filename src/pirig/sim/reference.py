"""Run LIBERO's scene with robosuite's own stepping, and render images only on request.

It is slow, and as close to the reference as possible. robosuite samples an observable within the 25 substeps of a
control step, so an image cannot be rendered after the step. Instead each camera's sensor is wrapped: if its image was
not requested, it returns a black image at no cost, and the instant at which robosuite calls it does not change.
"""

import time
from collections.abc import Collection
from typing import Any

import numpy as np

from pirig.sim.boot import Libero
from pirig.sim.building import build
from pirig.sim.seeding import FixtureSeeding
from pirig.sim.suites import Task
from pirig.types import EpisodeSpec, Seeding


class ReferenceScene:
    """A `ReferenceScene` implements `sim.libero.Scene` with robosuite's own stepping."""

    def __init__(self, task: Task, libero: Libero, protocol: Seeding):
        self.rendering_s = 0.0
        self.built = build(task, libero, cameras=True)
        self._open: Collection[str] = ()
        self._seeding = FixtureSeeding(self.built, libero, protocol, compiles=True)
        self._fit_shutters()

    def reset(self, spec: EpisodeSpec, state: np.ndarray, cameras: Collection[str]) -> dict[str, Any]:
        # wrapper.reset() is not called, because it suppresses every exception and retries forever.
        self._open = ()
        self._seeding.reset(spec)
        self._open = cameras
        return self.built.wrapper.set_init_state(state)

    def step(self, action: np.ndarray, cameras: Collection[str]) -> tuple[dict[str, Any], bool]:
        self._open = cameras
        raw, _, done, _ = self.built.wrapper.step(action)
        return raw, bool(done)

    def close(self) -> None:
        self.built.wrapper.close()

    def _fit_shutters(self) -> None:
        """Wrap the function that creates camera sensors, because each reset creates new ones.

        The first reset replaces the sensors of the constructor.
        """
        problem = self.built.problem
        make = problem._create_camera_sensors

        def make_with_shutter(cam_name: str, cam_w: int, cam_h: int, *args: Any, **kwargs: Any) -> Any:
            sensors, names = make(cam_name, cam_w, cam_h, *args, **kwargs)
            return [self._shutter(sensor, cam_name, (cam_h, cam_w, 3)) for sensor in sensors], names

        problem._create_camera_sensors = make_with_shutter

    def _shutter(self, sensor: Any, camera: str, shape: tuple[int, ...]) -> Any:
        black = np.zeros(shape, np.uint8)

        def shuttered(obs_cache: dict) -> np.ndarray:
            if camera not in self._open:
                return black
            start = time.perf_counter()
            image = sensor(obs_cache)
            self.rendering_s += time.perf_counter() - start
            return image

        setattr(shuttered, "__modality__", sensor.__modality__)  # noqa: B010 - robosuite's @sensor sets it
        return shuttered
