"""LIBERO as an Environment, with robosuite's own stepping: what the reference's evaluator runs, looked at lazily.

Law 1: states are bit-identical to a plain LIBERO loop, and so is each image that is looked at.
Law 2: an episode does not depend on what ran before it in this process.

robosuite samples an observable inside the 25 substeps of a control step, so an image can't be rendered after the
step. Instead each camera's sensor has a shutter: shut, it answers with black and costs nothing, and the instant at
which robosuite asks it stays what it was.
"""

import hashlib
from collections.abc import Collection
from typing import Any

import numpy as np

from pirig.errors import ConfigError
from pirig.sim import boot, suites
from pirig.sim.privileged import PrivilegedView
from pirig.sim.seeding import FixtureSeeding
from pirig.transforms.images import resize_with_pad, upright
from pirig.transforms.proprioception import state_vector
from pirig.types import EpisodeSpec, Observation, Seeding, Step

CAMERA_SIZE = 256  # pixels; openpi examples/libero/main.py LIBERO_ENV_RESOLUTION
CAMERAS = {"observation/image": "agentview", "observation/wrist_image": "robot0_eye_in_hand"}
OBSERVATIONS = frozenset({*CAMERAS, "observation/state", "privileged"})


class LiberoEnvironment:
    """Any task of any suite; rebuilt when the task changes. One per process (see architecture.md, Three roles)."""

    def __init__(self, settings: boot.Settings, *, seeding: Seeding = "per-episode", resize: int = 224):
        self._settings, self._protocol, self._resize = settings, seeding, resize
        self._libero = boot.boot(settings)
        self._scene: _Scene | None = None

    def reset(self, spec: EpisodeSpec, look: Collection[str] = ()) -> Step:
        task, state = suites.task(spec.suite, spec.task_id), suites.initial_state(spec)
        if unknown := set(look) - OBSERVATIONS:
            raise ConfigError(f"LIBERO has no observation {sorted(unknown)}; there are: {sorted(OBSERVATIONS)}")
        if self._scene is None or self._scene.task != task:
            self.close()
            self._scene = _Scene(task, self._libero, self._protocol)
        return self._seen(self._scene, self._scene.reset(spec, state, _cameras(look)), look)

    def step(self, action: np.ndarray, look: Collection[str] = ()) -> Step:
        scene = self._open_scene()
        raw, success = scene.step(action, _cameras(look))
        return self._seen(scene, raw, look, success)

    def state_hash(self) -> str:
        """BLAKE2 of time, qpos and qvel."""
        state = self._open_scene().wrapper.get_sim_state()
        return hashlib.blake2b(np.ascontiguousarray(state, np.float64).tobytes(), digest_size=16).hexdigest()

    def state(self) -> np.ndarray:
        """float64[1 + nq + nv]: time [s], qpos, qvel."""
        return self._open_scene().wrapper.get_sim_state()

    def fixture_poses(self) -> dict[str, np.ndarray]:
        """float64[7] by fixture: position [m] and quaternion (w, x, y, z), which no initial state contains."""
        return self._open_scene().fixture_poses()

    def describe(self) -> dict[str, Any]:
        """For the manifest: versions, back end and, once a scene is built, the GL renderer's own name."""
        renderer = _gl_renderer() if self._scene else ""
        return {"gl": self._settings.gl, "gl_renderer": renderer, "versions": self._libero.versions}

    def close(self) -> None:
        """Closes the render context while OpenGL still lives; at interpreter exit EGL would complain."""
        if self._scene is not None:
            self._scene.wrapper.close()
            self._scene = None

    def _open_scene(self) -> "_Scene":
        if self._scene is None:
            raise ConfigError("the environment has no episode yet; call reset first")
        return self._scene

    def _seen(self, scene: "_Scene", raw: dict[str, Any], look: Collection[str], success: bool = False) -> Step:
        observation: Observation = {"prompt": scene.task.language}
        for key in look:
            if key in CAMERAS:
                image = upright(raw[f"{CAMERAS[key]}_image"])
                observation[key] = resize_with_pad(image, self._resize, self._resize)
            elif key == "observation/state":
                observation[key] = state_vector(
                    raw["robot0_eef_pos"], raw["robot0_eef_quat"], raw["robot0_gripper_qpos"]
                )
            else:
                observation[key] = scene.privileged()
        return Step(observation, success)


class _Scene:
    """One built task: the OffScreenRenderEnv, its shutters and its seeding."""

    def __init__(self, task: suites.Task, libero: boot.Libero, protocol: Seeding):
        self.task = task
        self.wrapper = libero.make(
            bddl_file_name=str(task.problem_file), camera_heights=CAMERA_SIZE, camera_widths=CAMERA_SIZE
        )
        self._problem = self.wrapper.env
        self._open: Collection[str] = ()
        self._view: PrivilegedView | None = None
        self._seeding = FixtureSeeding(self._problem, libero, protocol)
        self._fit_shutters()

    def reset(self, spec: EpisodeSpec, state: np.ndarray, cameras: Collection[str]) -> dict[str, Any]:
        # Not wrapper.reset(): it swallows every exception and tries for ever.
        self._open, self._view = (), None
        self._seeding.reset(spec)
        self._open = cameras
        return self.wrapper.set_init_state(state)

    def step(self, action: np.ndarray, cameras: Collection[str]) -> tuple[dict[str, Any], bool]:
        self._open = cameras
        raw, _, done, _ = self.wrapper.step(action)
        return raw, bool(done)

    def fixture_poses(self) -> dict[str, np.ndarray]:
        model = self._problem.sim.model
        bodies = {
            name: model.body_name2id(fixture.root_body)
            for name, fixture in self._problem.fixtures_dict.items()
            if fixture.root_body
        }
        return {name: np.concatenate((model.body_pos[i], model.body_quat[i])) for name, i in bodies.items()}

    def privileged(self) -> dict[str, Any]:
        if self._view is None:
            self._view = PrivilegedView(self._problem)
        return self._view.read()

    def _fit_shutters(self) -> None:
        """Each reset makes new sensors, so the maker is wrapped; the first reset replaces the constructor's."""
        make = self._problem._create_camera_sensors

        def make_with_shutter(cam_name: str, cam_w: int, cam_h: int, *args: Any, **kwargs: Any) -> Any:
            sensors, names = make(cam_name, cam_w, cam_h, *args, **kwargs)
            return [self._shutter(sensor, cam_name, (cam_h, cam_w, 3)) for sensor in sensors], names

        self._problem._create_camera_sensors = make_with_shutter

    def _shutter(self, sensor: Any, camera: str, shape: tuple[int, ...]) -> Any:
        black = np.zeros(shape, np.uint8)

        def shuttered(obs_cache: dict) -> np.ndarray:
            return sensor(obs_cache) if camera in self._open else black

        setattr(shuttered, "__modality__", sensor.__modality__)  # noqa: B010 - what robosuite's @sensor sets
        return shuttered


def _cameras(look: Collection[str]) -> tuple[str, ...]:
    return tuple(camera for key, camera in CAMERAS.items() if key in look)


def _gl_renderer() -> str:
    from OpenGL import GL  # reads PYOPENGL_PLATFORM at import, which boot sets

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode() if name else ""
