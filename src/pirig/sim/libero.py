"""Provide LIBERO as an `Environment`, with a choice of two simulators that give the same bits.

    fast        our own loop around MuJoCo, which computes only what a state or an observation depends on (sim.fast)
    reference   robosuite's own stepping, as the reference evaluator runs it (sim.reference)

Law 1: States are bit-identical to those of a plain LIBERO loop, and so is each image that is requested.
Law 2: An episode does not depend on what ran before it in this process.
Law 3: An unstable simulation is an error. MuJoCo itself prints a warning to the terminal, resets the scene to its
    beginning and continues, and the episode would be counted as a failure of the policy.
"""

import hashlib
from collections.abc import Collection
from typing import Any, Protocol

import numpy as np

from pirig.errors import ConfigError, MissingResource, SimulationError
from pirig.sim import boot, suites
from pirig.sim.building import Built
from pirig.sim.drawing import gl
from pirig.sim.privileged import PrivilegedView
from pirig.text import unknown
from pirig.transforms.images import resize_with_pad, upright
from pirig.transforms.proprioception import state_vector
from pirig.types import EpisodeSpec, Observation, Seeding, Simulator, Step

CAMERAS = {"observation/image": "agentview", "observation/wrist_image": "robot0_eye_in_hand"}
_UNSTABLE = {4: "QPOS", 5: "QVEL", 6: "QACC", 7: "CTRL"}  # MuJoCo's mjtWarning numbers, with the affected quantity
OBSERVATIONS = frozenset({*CAMERAS, "observation/state", "privileged"})


class Scene(Protocol):
    """A `Scene` is one built task.

    The observations that it returns have robosuite's names: `agentview_image`, `robot0_eef_pos` and so on.
    """

    built: Built
    rendering_s: float  # time spent on images since the scene was built [s]

    def reset(self, spec: EpisodeSpec, state: np.ndarray, cameras: Collection[str]) -> dict[str, Any]: ...

    def step(self, action: np.ndarray, cameras: Collection[str]) -> tuple[dict[str, Any], bool]:
        """Return the raw observations, and whether the task's goal is reached."""
        ...

    def close(self) -> None: ...


class LiberoEnvironment:
    """A `LiberoEnvironment` runs any task of any suite, and rebuilds its scene when the task changes.

    A process can have only one, because render contexts interfere with each other.
    """

    def __init__(
        self,
        settings: boot.Settings,
        *,
        seeding: Seeding = "per-episode",
        resize: int = 224,
        simulator: Simulator = "fast",
    ):
        self._settings, self._protocol, self._resize, self._simulator = settings, seeding, resize, simulator
        self._libero = boot.boot(settings)
        self._task: suites.Task | None = None
        self._scene: Scene | None = None
        self._view: PrivilegedView | None = None
        self._rendered_before_s = 0.0  # the scene's rendering time in earlier episodes [s]
        self._fixtures = b""  # poses of the fixtures in this episode

    @property
    def rendering_s(self) -> float:
        """Return the time spent on images since the latest reset began [s]."""
        return self._scene.rendering_s - self._rendered_before_s if self._scene else 0.0

    def reset(self, spec: EpisodeSpec, look: Collection[str] = ()) -> Step:
        self._rendered_before_s = self._scene.rendering_s if self._scene else 0.0
        task, state = suites.task(spec.suite, spec.task_id), suites.initial_state(spec)
        if missing := sorted(set(look) - OBSERVATIONS):
            raise ConfigError(unknown("LIBERO observation", missing[0], sorted(OBSERVATIONS)))
        if self._scene is None or self._task != task:
            self.close()
            self._scene, self._task, self._rendered_before_s = self._make_scene(task), task, 0.0
        self._view, self._fixtures = None, b""
        return self._seen(self._scene.reset(spec, state, _cameras(look)), look)

    def step(self, action: np.ndarray, look: Collection[str] = ()) -> Step:
        scene = self._open_scene()
        raw, success = scene.step(action, _cameras(look))
        _refuse_instability(scene)
        return self._seen(raw, look, success)

    def state_hash(self) -> str:
        """Return the BLAKE2 hash of time, qpos, qvel, and of the poses of fixtures.

        The poses are included because no state contains them, and every image depends on them.
        """
        if not self._fixtures:
            self._fixtures = b"".join(pose.tobytes() for pose in self.fixture_poses().values())
        state = np.ascontiguousarray(self.state(), np.float64).tobytes()
        return hashlib.blake2b(state + self._fixtures, digest_size=16).hexdigest()

    def state(self) -> np.ndarray:
        """Return the simulation state, float64[1 + nq + nv]: time [s], qpos, qvel."""
        return self._open_scene().built.wrapper.get_sim_state()

    def fixture_poses(self) -> dict[str, np.ndarray]:
        """Return the pose of each fixture, which no initial state contains.

        A pose is float64[7]: position [m] and quaternion (w, x, y, z).
        """
        return self._open_scene().built.fixture_poses()

    def picture(self, camera: str, width: int, height: int) -> np.ndarray:
        """Return an image of the scene in its current state, uint8[height, width, 3], rendered by MuJoCo.

        It is not mirrored as a policy's images are. Raises ConfigError for a camera that the scene does not have.
        """
        sim = self._open_scene().built.problem.sim
        if camera not in sim.model.camera_names:
            raise ConfigError(unknown("camera", camera, sim.model.camera_names))
        return sim.render(camera_name=camera, width=width, height=height)[::-1]  # OpenGL's first row is the lowest

    def describe(self) -> dict[str, Any]:
        """Return simulator, versions, back end and, once a scene is built, the GL renderer's name, for the manifest."""
        return {
            "simulator": self._simulator,
            "gl": self._settings.gl,
            "gl_renderer": _gl_renderer() if self._scene else "",
            "versions": self._libero.versions,
        }

    def close(self) -> None:
        """Close the render context while OpenGL is still loaded; at interpreter exit EGL would report errors."""
        if self._scene is not None:
            self._scene.close()
        self._scene = self._task = self._view = None

    def _make_scene(self, task: suites.Task) -> Scene:
        from mujoco import FatalError  # ty: ignore[import-not-found]  from its C++ part; boot must run before

        try:
            if self._simulator == "fast":
                from pirig.sim.fast import FastScene

                return FastScene(task, self._libero, self._protocol)
            from pirig.sim.reference import ReferenceScene

            return ReferenceScene(task, self._libero, self._protocol)
        except FatalError as e:
            raise MissingResource(f"MuJoCo cannot render with {self._settings.gl}: {e}. {gl.REMEDY}") from e

    def _open_scene(self) -> Scene:
        if self._scene is None:
            raise ConfigError("the environment has no episode yet; call reset first")
        return self._scene

    def _seen(self, raw: dict[str, Any], look: Collection[str], success: bool = False) -> Step:
        assert self._task is not None
        observation: Observation = {"prompt": self._task.language}
        for key in look:
            if key in CAMERAS:
                image = upright(raw[f"{CAMERAS[key]}_image"])
                observation[key] = resize_with_pad(image, self._resize, self._resize)
            elif key == "observation/state":
                observation[key] = state_vector(
                    raw["robot0_eef_pos"], raw["robot0_eef_quat"], raw["robot0_gripper_qpos"]
                )
            else:
                observation[key] = self._privileged()
        return Step(observation, success)

    def _privileged(self) -> dict[str, Any]:
        if self._view is None:
            self._view = PrivilegedView(self._open_scene().built.problem)
        return self._view.read()


def _refuse_instability(scene: Scene) -> None:
    warnings = scene.built.problem.sim.data._data.warning
    for number, quantity in _UNSTABLE.items():
        if warnings[number].number:
            raise SimulationError(
                f"the simulation is unstable: MuJoCo found NaN or a huge value in {quantity} (degree of freedom "
                f"{warnings[number].lastinfo}), and put the scene back to its beginning"
            )


def _cameras(look: Collection[str]) -> tuple[str, ...]:
    return tuple(camera for key, camera in CAMERAS.items() if key in look)


def _gl_renderer() -> str:
    from OpenGL import GL  # reads PYOPENGL_PLATFORM at import, which boot sets

    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode() if name else ""
