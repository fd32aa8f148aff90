"""Builds a task's scene, and puts a built scene back to how it was compiled.

Compiling takes 2 to 5 s, nearly all of a reset in LIBERO. What a compiled model has and an episode changes is little:
poses of fixtures, drawn at each reset, and the colours of sites, which show that a stove is on.

Law: after `Built.restart()` the scene is, bit for bit, what LIBERO's own reset leaves behind, given the same draws.
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
    compiled: dict[str, np.ndarray]  # fields of the model that episodes change, as compiled

    @property
    def problem(self) -> Any:
        """The robosuite environment inside."""
        return self.wrapper.env

    def restart(self) -> None:
        """What `problem.reset` does, draws included, but for compiling and looking. Raises RandomizationError."""
        problem, sim = self.problem, self.problem.sim
        for name, values in self.compiled.items():
            getattr(sim.model, name)[:] = values
        sim.reset()
        sim.forward()  # a new simulation's
        sim.forward()  # a new render context's; both move the solver's warm start
        problem._reset_internal()
        sim.forward()
        problem.visualize(vis_settings=dict.fromkeys(problem._visualizations, False))

    def fixture_poses(self) -> dict[str, np.ndarray]:
        """float64[7] by fixture: position [m] and quaternion (w, x, y, z)."""
        model = self.problem.sim.model
        bodies = {
            name: model.body_name2id(fixture.root_body)
            for name, fixture in self.problem.fixtures_dict.items()
            if fixture.root_body
        }
        return {name: np.concatenate((model.body_pos[i], model.body_quat[i])) for name, i in bodies.items()}


def build(task: Task, libero: Libero, *, cameras: bool) -> Built:
    """`cameras`: whether robosuite is to look through them by itself."""
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
    """Copies what will change between compilation and the constructor's own first reset, which changes it."""
    base, noted = libero.MujocoEnv, {}
    compile_model = base._initialize_sim

    def compile_and_note(problem: Any, *args: Any, **kwargs: Any) -> None:
        compile_model(problem, *args, **kwargs)
        model = problem.sim.model
        noted.update({name: getattr(model, name).copy() for name in ("body_pos", "body_quat", "site_rgba")})
        memory.forget_description()  # before the render context takes as much again

    base._initialize_sim = compile_and_note
    try:
        yield noted
    finally:
        base._initialize_sim = compile_model
