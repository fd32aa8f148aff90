"""Build a task's scene, and restore a built scene to its compiled state.

Compiling takes 2 to 5 s, which is nearly all of a reset in LIBERO. An episode changes little of a compiled model: the
poses of fixtures, which are drawn at each reset, and the colours of sites, which show that a stove is on.

Law: After `Built.restart()` the scene is, bit for bit, what LIBERO's own reset produces from the same random draws.
"""

import contextlib
import dataclasses
from collections.abc import Generator
from typing import Any

import numpy as np

from pirig.sim import memory
from pirig.sim.boot import Libero
from pirig.sim.suites import Task

CAMERA_SIZE = 256  # pixels; openpi examples/libero/main.py LIBERO_ENV_RESOLUTION


@dataclasses.dataclass(frozen=True)
class Built:
    wrapper: Any  # OffScreenRenderEnv
    compiled: dict[str, np.ndarray]  # compiled values of the model fields that episodes change

    @property
    def problem(self) -> Any:
        """Return the robosuite environment inside the wrapper."""
        return self.wrapper.env

    def restart(self) -> None:
        """Do what `problem.reset` does, random draws included, without compiling the model or computing observations.

        Raises RandomizationError.
        """
        problem, sim = self.problem, self.problem.sim
        for name, values in self.compiled.items():
            getattr(sim.model, name)[:] = values
        sim.reset()
        sim.forward()  # as a new simulation does
        sim.forward()  # as a new render context does; both calls change the solver's warm start
        problem._reset_internal()
        sim.forward()
        problem.visualize(vis_settings=dict.fromkeys(problem._visualizations, False))

    def fixture_poses(self) -> dict[str, np.ndarray]:
        """Return the pose of each fixture, float64[7]: position [m] and quaternion (w, x, y, z)."""
        model = self.problem.sim.model
        bodies = {
            name: model.body_name2id(fixture.root_body)
            for name, fixture in self.problem.fixtures_dict.items()
            if fixture.root_body
        }
        return {name: np.concatenate((model.body_pos[i], model.body_quat[i])) for name, i in bodies.items()}


def build(task: Task, libero: Libero, *, cameras: bool) -> Built:
    """Build a task's scene.

    `cameras`: whether robosuite itself renders the camera images.
    """
    with _noted_compilation(libero) as compiled:
        wrapper = libero.make(
            bddl_file_name=str(task.problem_file),
            use_camera_obs=cameras,
            camera_heights=CAMERA_SIZE,
            camera_widths=CAMERA_SIZE,
        )
    return Built(wrapper, compiled)


@contextlib.contextmanager
def _noted_compilation(libero: Libero) -> Generator[dict[str, np.ndarray]]:
    """Copy the model fields that will change, before the constructor's own first reset changes them."""
    base, noted = libero.MujocoEnv, {}
    compile_model = base._initialize_sim

    def compile_and_note(problem: Any, *args: Any, **kwargs: Any) -> None:
        compile_model(problem, *args, **kwargs)
        model = problem.sim.model
        noted.update({name: getattr(model, name).copy() for name in ("body_pos", "body_quat", "site_rgba")})
        memory.forget_description()  # before the render context allocates as much again

    base._initialize_sim = compile_and_note
    try:
        yield noted
    finally:
        base._initialize_sim = compile_model
