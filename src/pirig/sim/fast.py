"""Step and render LIBERO's scene with our own loop: it is built once per task, and nothing unused is computed.

The following is left out, which changes no bit of the result:

    compiling at each reset     the model is a function of the task; `Built.restart` restores what episodes change
    observables                 robosuite computes them in each substep; here they are read from the data on request
    rendering                   it does not affect the state; it is done on request, when robosuite would do it
    repeated kinematics         see `sim.control`
    contacts by name            the same test is done on geom numbers

robosuite samples a policy's observation after substep 24 of 25, because each observable waits for its sampling time,
and reset and set_init_state have each forced one sample.
"""

import time
from collections.abc import Collection
from typing import Any

import mujoco as _mujoco
import numpy as np

from pirig.sim import memory
from pirig.sim.boot import Libero
from pirig.sim.building import CAMERA_SIZE, build
from pirig.sim.control import ArmControl
from pirig.sim.drawing.rendering import Renderer
from pirig.sim.seeding import FixtureSeeding
from pirig.sim.suites import Task
from pirig.types import EpisodeSpec, Seeding

mujoco: Any = _mujoco  # a compiled module, whose functions type checkers cannot see

_LOOK_AFTER = 24  # substeps


class FastScene:
    """A `FastScene` implements `sim.libero.Scene` with our own loop."""

    def __init__(self, task: Task, libero: Libero, protocol: Seeding):
        self.rendering_s = 0.0
        self.built = build(task, libero, cameras=False)
        problem = self._problem = self.built.problem
        self._model, self._data = problem.sim.model._model, problem.sim.data._data
        self._seeding = FixtureSeeding(self.built, libero, protocol, compiles=False)
        self._control = ArmControl(problem)
        problem.check_contact = _Contacts(self._model, self._data)
        self._renderer = Renderer(problem.sim, CAMERA_SIZE)
        memory.forget_textures(self._model)
        memory.return_freed()
        robot = problem.robots[0]
        self._hand, self._hand_site = self._model.body(robot.robot_model.eef_name).id, robot.eef_site_id
        self._fingers = np.array(robot._ref_gripper_joint_pos_indexes)

    def reset(self, spec: EpisodeSpec, state: np.ndarray, cameras: Collection[str]) -> dict[str, Any]:
        problem = self._problem
        self._seeding.reset(spec)
        self._control.bind()
        self.built.wrapper.set_state(state)
        mujoco.mj_forward(self._model, self._data)
        problem._check_success()
        problem._post_process()
        return self._look(cameras)

    def step(self, action: np.ndarray, cameras: Collection[str]) -> tuple[dict[str, Any], bool]:
        control, raw = self._control, {}
        control.begin(np.asarray(action, np.float64))
        for done in range(1, control.substeps + 1):
            control.substep()
            if done == _LOOK_AFTER:
                raw = self._look(cameras)
        success = self._problem._check_success()
        self._problem._post_process()
        return raw, bool(success)

    def close(self) -> None:
        self._renderer.close()
        self.built.wrapper.close()

    def _look(self, cameras: Collection[str]) -> dict[str, Any]:
        data = self._data
        raw = {
            "robot0_eef_pos": data.site_xpos[self._hand_site].copy(),
            "robot0_eef_quat": np.roll(data.xquat[self._hand], -1),  # w, x, y, z -> x, y, z, w
            "robot0_gripper_qpos": data.qpos[self._fingers],
        }
        start = time.perf_counter()
        for camera in cameras:
            raw[f"{camera}_image"] = self._renderer.image(camera).copy()
        self.rendering_s += time.perf_counter() - start
        return raw


class _Contacts:
    """`_Contacts` replaces robosuite's check_contact, which looks up the names of all geoms in contact."""

    def __init__(self, model: Any, data: Any):
        self._model, self._data = model, data
        self._members: dict[int, tuple[Any, np.ndarray]] = {}

    def __call__(self, first: Any, second: Any) -> bool:
        """Return whether a contact geom of one object touches one of the other."""
        pairs = self._data.contact.geom
        a, b = self._of(first)[pairs], self._of(second)[pairs]
        return bool((a & b[:, ::-1]).any())

    def _of(self, thing: Any) -> np.ndarray:
        """Return the mask of an object's contact geoms, bool[ngeom].

        A reference to the object is kept, so that its id is not reused.
        """
        if id(thing) not in self._members:
            mask = np.zeros(self._model.ngeom, bool)
            mask[[self._model.geom(name).id for name in thing.contact_geoms]] = True
            self._members[id(thing)] = thing, mask
        return self._members[id(thing)][1]
