"""Compute one control step of the arm: 25 substeps of robosuite's operational-space controller and MuJoCo.

The table shows what robosuite does in a substep, and which part of it affects the next state:

    sim.forward()                      all of it
    controller.update: sim.forward()   its constraint solve, which changes the warm start of the next solve; positions
                                       and velocities have not changed since
    sim.step(): forward, integrate     actuation and the solve for the new torques; the rest is as above

So three solves remain, and everything before them is done once. (MuJoCo 3.2.3; from 3.3.6 on a solve does not change
the warm start.) The first substep after a reset has no update, because the controller has just been created: its
Jacobian, masses and velocities are those of the reset pose.

Law: Torques are equal to robosuite's bit for bit. So each matrix product is computed by the library that robosuite
uses for it: NumPy's BLAS where robosuite uses NumPy, Numba's where robosuite's code is compiled by Numba, in the same
memory layout.
"""

from typing import Any

import mujoco as _mujoco
import numba
import numpy as np
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

from pirig.errors import StartError

mujoco: Any = _mujoco  # a compiled module, whose functions type checkers cannot see

_VELOCITY = mujoco.mjtStage.mjSTAGE_VEL
_NO_SENSORS = 1


class ArmControl:
    """An `ArmControl` computes the arm's control of one built scene (`OffScreenRenderEnv.env`).

    It must be bound again after each reset, which creates a new controller.
    """

    def __init__(self, problem: Any):
        self._model, self._data = problem.sim.model._model, problem.sim.data._data
        self._robot = robot = problem.robots[0]
        self.substeps = int(problem.control_timestep / problem.model_timestep)
        gripper = robot.gripper
        self._fingers = np.array([self._model.actuator(name).id for name in gripper.actuators])
        low, high = self._model.actuator_ctrlrange[self._fingers].T
        self._finger_middle, self._finger_reach = 0.5 * (high + low), 0.5 * (high - low)
        self._finger_speed = np.array([-1.0, 1.0]) * gripper.speed
        self._arm = np.array(robot._ref_joint_actuator_indexes)
        nv = self._model.nv
        self._masses = np.zeros((nv, nv))
        self._linear, self._angular = np.zeros((3, nv)), np.zeros((3, nv))  # Jacobians

    def bind(self) -> None:
        """Bind to the controller that a reset has created.

        Raises StartError for a controller other than LIBERO's.
        """
        self._controller = c = self._robot.controller
        plain = c.interpolator_pos is None and c.interpolator_ori is None and c.uncoupling and c.use_delta
        if c.name != "OSC_POSE" or c.impedance_mode != "fixed" or not plain:
            raise StartError(
                f"the fast simulator knows LIBERO's own OSC_POSE controller only; found {c.name}, {c.impedance_mode}; "
                "use --simulator reference"
            )
        site, data = self._model.site(c.eef_name).id, self._data
        self._site = site
        self._position, self._rotation = data.site_xpos[site], data.site_xmat[site].reshape(3, 3)  # live views
        self._coordinates, self._velocities = data.qpos, data.qvel
        self._qpos, self._dofs = np.array(c.qpos_index), np.array(c.qvel_index)
        self._actuators = (
            data.qfrc_bias,
            self._dofs,
            data.ctrl,
            self._arm,
            *(np.array(limit, np.float64) for limit in self._robot.torque_limits),
            self._fingers,
            self._finger_middle,
            self._finger_reach,
        )
        # the state that the controller read when it was created
        coordinates, velocities = np.zeros(self._model.nq), np.zeros(self._model.nv)
        coordinates[self._qpos], velocities[self._dofs] = c.joint_pos, c.joint_vel
        self._seen = c.ee_pos.copy(), c.ee_ori_mat.copy(), coordinates, velocities
        self._speeds = c.ee_pos_vel.copy(), c.ee_ori_vel.copy()
        self._linear[:, self._dofs], self._angular[:, self._dofs] = c.J_pos, c.J_ori
        self._masses[np.ix_(self._dofs, self._dofs)] = c.mass_matrix
        self._stale = False
        self._grip = np.zeros(len(self._fingers))

    def begin(self, action: np.ndarray) -> None:
        """Begin a control step with `action`, float64[7]: six values for the arm, one for the gripper."""
        self._action, self._new_goal = action, True

    def substep(self) -> None:
        model, data, c = self._model, self._data, self._controller
        mujoco.mj_forward(model, data)
        if self._stale:
            mujoco.mj_forwardSkip(model, data, _VELOCITY, _NO_SENSORS)
            mujoco.mj_jacSite(model, data, self._linear, self._angular, self._site)
            mujoco.mj_fullM(model, self._masses, data.qM)
            self._seen = self._position, self._rotation, self._coordinates, self._velocities
            self._speeds = np.dot(self._linear, self._velocities), np.dot(self._angular, self._velocities)
        if self._new_goal:
            c.ee_pos, c.ee_ori_mat, c.new_update = self._seen[0], self._seen[1], False
            c.set_goal(self._action[:6])
            self._closing = self._finger_speed * np.sign(self._action[6:])
            self._new_goal = False
        force, torque, force_mass, torque_mass, null, jacobian = _operational_space(
            c.goal_pos,
            c.goal_ori,
            *self._seen,
            *self._speeds,
            c.kp,
            c.kd,
            self._linear,
            self._angular,
            self._masses,
            self._qpos,
            self._dofs,
            c.initial_joint,
        )
        wrench = np.concatenate((np.dot(force_mass, force), np.dot(torque_mass, torque)))
        _actuate(np.dot(jacobian, wrench), null, self._closing, self._grip, *self._actuators)
        mujoco.mj_step2(model, data)
        self._stale = True


@numba.jit(nopython=True, cache=True)
def _operational_space(
    goal_position: np.ndarray,
    goal_rotation: np.ndarray,
    position: np.ndarray,
    rotation: np.ndarray,
    coordinates: np.ndarray,
    velocities: np.ndarray,
    velocity: np.ndarray,
    spin: np.ndarray,
    stiffness: np.ndarray,
    damping: np.ndarray,
    linear: np.ndarray,
    angular: np.ndarray,
    masses: np.ndarray,
    places: np.ndarray,
    dofs: np.ndarray,
    rest: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return the desired wrench and what is needed to turn it into torques.

    The result is: force [N] and torque [N m], their mass matrices [3, 3], null-space torques [7], and the Jacobian
    [7, 6]. `coordinates`, `velocities`, the Jacobians `linear` and `angular` [3, V] and `masses` [V, V] are those of
    the whole scene; `places` and `dofs` are the indices of the arm in them.
    """
    count = len(dofs)
    jacobian, mass = np.empty((count, 6)), np.empty((count, count))
    force_jacobian, torque_jacobian = np.empty((count, 3)), np.empty((count, 3))
    for i in range(count):
        for k in range(3):
            force_jacobian[i, k] = jacobian[i, k] = linear[k, dofs[i]]
            torque_jacobian[i, k] = jacobian[i, 3 + k] = angular[k, dofs[i]]
        for j in range(count):
            mass[i, j] = masses[dofs[j], dofs[i]]
    m = mass.T  # robosuite's mass matrix is in Fortran order, which affects the result of BLAS
    error = orientation_error(goal_rotation, rotation)
    force = (goal_position - position) * stiffness[:3] + -velocity * damping[:3]
    torque = error * stiffness[3:] + -spin * damping[3:]
    _, force_mass, torque_mass, nullspace = opspace_matrices(m, jacobian.T, force_jacobian.T, torque_jacobian.T)
    null = nullspace_torques(m, nullspace, rest, coordinates[places], velocities[dofs])
    return force, torque, force_mass, torque_mass, null, jacobian


@numba.jit(nopython=True, cache=True)
def _actuate(
    torques: np.ndarray,
    null: np.ndarray,
    closing: np.ndarray,
    grip: np.ndarray,
    bias: np.ndarray,
    dofs: np.ndarray,
    control: np.ndarray,
    arm: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    fingers: np.ndarray,
    middle: np.ndarray,
    reach: np.ndarray,
) -> None:
    """Advance the gripper's setting `grip` by one step, and write the commands for arm and fingers into `control`."""
    for i in range(len(arm)):
        control[arm[i]] = min(max(torques[i] + bias[dofs[i]] + null[i], low[i]), high[i])
    for i in range(len(fingers)):
        grip[i] = min(max(grip[i] + closing[i], -1.0), 1.0)
        control[fingers[i]] = middle[i] + reach[i] * grip[i]
