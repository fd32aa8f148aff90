"""The scripted policy picks up the goal's object and places it on the goal's target, using privileged poses.

It is no baseline for learned policies. Its outcomes are known, so it shows that the evaluator works. It handles the
goals `on` and `in`; for any other goal it holds still, and fails.

    above -> descend -> close -> lift -> carry -> lower -> release -> retreat
      ^______________________missed_|

Law: The policy keeps no state. All of its memory travels in the observation's `carry`, so one instance can serve any
    number of concurrent episodes over any transport.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pirig.errors import PolicyError
from pirig.policies.grasping import Geometry, plan_grasp
from pirig.policies.wrappers import OneByOne
from pirig.types import Metadata, Observation

_OPEN, _CLOSED = -1.0, 1.0
_MAX_RETRIES = 2
_UP = np.array([0.0, 0.0, 1.0])
_METRES, _RADIANS = 0.05, 0.5  # displacement for an action of 1: robosuite's OSC_POSE output_max


@dataclasses.dataclass(frozen=True)
class Memory:
    """The state that the policy carries from one step to the next."""

    phase: str
    ticks: int  # steps in this phase
    retries: int
    facing: np.ndarray  # [3, 3] rotation of the gripper when the episode began
    finger_axis: np.ndarray  # [3] of the gripper when the episode began
    grasp: np.ndarray  # [3]
    yaw: float
    below: float
    mark: np.ndarray  # [3] reference position of the phase
    height: float  # of the object when the lift began


class ScriptedPolicy(OneByOne):
    """The scripted policy returns one action per request, because it needs to observe the effect of each action."""

    metadata: Metadata = {"name": "scripted", "observations": ["privileged"], "replan_steps": 1}

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Return the next action and the new `carry`. Raises PolicyError if the observation has no `privileged`."""
        if "privileged" not in obs:
            raise PolicyError("the scripted policy needs the observation 'privileged'; evaluate it with pirig eval")
        scene = Geometry(obs["privileged"])
        if not _is_scripted(scene):
            return {"actions": _still()[None]}
        carry = obs.get("carry")
        memory = Memory(**carry) if carry else _begin(scene)
        memory = dataclasses.replace(memory, ticks=memory.ticks + 1)
        action, after = _PHASES[memory.phase](scene, memory)
        return {"actions": action[None], "carry": dataclasses.asdict(after)}


def _is_scripted(scene: Geometry) -> bool:
    match scene.goal:
        case [["on" | "in", thing, target]]:
            return scene.is_solid(thing) and scene.knows(target)
    return False


def _begin(scene: Geometry) -> Memory:
    nowhere = np.zeros(3)
    blank = Memory("above", 0, 0, scene.facing, scene.finger_axis, nowhere, 0.0, 0.0, nowhere, 0.0)
    return _aim(scene, blank)


def _aim(scene: Geometry, memory: Memory) -> Memory:
    grasp = plan_grasp(scene, _object(scene), memory.finger_axis, memory.retries)
    return dataclasses.replace(memory, grasp=grasp.point, yaw=grasp.yaw, below=grasp.below)


Outcome = tuple[np.ndarray, Memory]
"""The action, float64[7], and the memory for the next step."""


def _above(scene: Geometry, memory: Memory) -> Outcome:
    action, gap, turn = _towards(scene, memory, memory.grasp + 0.12 * _UP, _OPEN)
    return action, _enter(memory, "descend", (gap < 0.012 and turn < 0.08) or memory.ticks > 60)


def _descend(scene: Geometry, memory: Memory) -> Outcome:
    action, gap, _ = _towards(scene, memory, memory.grasp, _OPEN, gain=1.4, limit=0.8)
    return action, _enter(memory, "close", gap < 0.006 or memory.ticks > 40)


def _close(scene: Geometry, memory: Memory) -> Outcome:
    action, _, _ = _towards(scene, memory, memory.grasp, _CLOSED)
    if memory.ticks <= 12:
        return action, memory
    top = np.array([*memory.grasp[:2], max(memory.grasp[2] + 0.15, _release_height(scene, memory) + 0.05)])
    return action, _enter(memory, "lift", mark=top)


def _lift(scene: Geometry, memory: Memory) -> Outcome:
    action, gap, _ = _towards(scene, memory, memory.mark, _CLOSED, gain=1.2, limit=0.8)
    height = float(scene.position(_object(scene))[2])
    if memory.ticks == 1:
        memory = dataclasses.replace(memory, height=height)
    if gap >= 0.03 and memory.ticks <= 45:
        return action, memory
    if height < memory.height + 0.03 and memory.retries < _MAX_RETRIES:
        return action, _aim(scene, _enter(dataclasses.replace(memory, retries=memory.retries + 1), "above"))
    return action, _enter(memory, "carry")


def _carry(scene: Geometry, memory: Memory) -> Outcome:
    action, gap, _ = _towards(scene, memory, _over_target(scene, memory.mark[2]), _CLOSED, gain=1.2, limit=0.7)
    return action, _enter(memory, "lower", gap < 0.012 or memory.ticks > 90)


def _lower(scene: Geometry, memory: Memory) -> Outcome:
    target = _over_target(scene, _release_height(scene, memory))
    action, gap, _ = _towards(scene, memory, target, _CLOSED, gain=1.0, limit=0.5)
    return action, _enter(memory, "release", gap < 0.008 or memory.ticks > 35, mark=scene.hand)


def _release(scene: Geometry, memory: Memory) -> Outcome:
    action, _, _ = _towards(scene, memory, memory.mark, _OPEN)
    return action, _enter(memory, "retreat", memory.ticks > 10)


def _retreat(scene: Geometry, memory: Memory) -> Outcome:
    return _towards(scene, memory, memory.mark + 0.12 * _UP, _OPEN)[0], memory


_PHASES: dict[str, Callable[[Geometry, Memory], Outcome]] = {
    "above": _above,
    "descend": _descend,
    "close": _close,
    "lift": _lift,
    "carry": _carry,
    "lower": _lower,
    "release": _release,
    "retreat": _retreat,
}


def _enter(memory: Memory, phase: str, when: bool = True, mark: np.ndarray | None = None) -> Memory:
    if not when:
        return memory
    return dataclasses.replace(memory, phase=phase, ticks=0, mark=memory.mark if mark is None else mark)


def _object(scene: Geometry) -> str:
    return scene.goal[0][1]


def _target(scene: Geometry) -> str:
    return scene.goal[0][2]


def _over_target(scene: Geometry, height: float) -> np.ndarray:
    """Return the hand position, [3], at which the object, as it is held, is over the target."""
    slip = scene.hand[:2] - scene.position(_object(scene))[:2]
    return np.array([*(scene.position(_target(scene))[:2] + slip), height])


def _release_height(scene: Geometry, memory: Memory) -> float:
    """Return the hand height at which to release the object: just above the surface, or above a container's rim."""
    corners = scene.corners(scene.carrier(_target(scene)))
    if not len(corners):
        return float(scene.position(_target(scene))[2]) + memory.below + 0.01  # a region of the table
    if scene.goal[0][0] == "in":
        return float(corners[:, 2].max()) + memory.below + 0.03
    near = np.linalg.norm(corners[:, :2] - scene.position(_target(scene))[:2], axis=1) < 0.06
    return float((corners[near] if near.any() else corners)[:, 2].max()) + memory.below + 0.006


def _towards(
    scene: Geometry, memory: Memory, target: np.ndarray, gripper: float, *, gain: float = 1.6, limit: float = 1.0
) -> tuple[np.ndarray, float, float]:
    """Take a proportional step to a position and to the grasp's orientation.

    Returns the action, the remaining distance [m] and the remaining angle [rad].
    """
    action = np.zeros(7)
    action[:3] = np.clip(gain * (target - scene.hand) / _METRES, -limit, limit)
    error = _about_z(memory.yaw) @ memory.facing @ scene.facing.T
    axis = np.array([error[2, 1] - error[1, 2], error[0, 2] - error[2, 0], error[1, 0] - error[0, 1]]) / 2
    sine = float(np.linalg.norm(axis))
    angle = float(np.arctan2(sine, (np.trace(error) - 1) / 2))
    if sine > 1e-9:
        action[3:6] = np.clip(1.2 * angle * axis / sine / _RADIANS, -0.6, 0.6)
    action[6] = gripper
    return action, float(np.linalg.norm(target - scene.hand)), angle


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _still() -> np.ndarray:
    return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, _OPEN])
