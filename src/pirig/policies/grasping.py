"""Plan grasps of a parallel gripper from collision boxes, for the scripted policy.

Coordinates are world coordinates with z up; lengths are in [m], angles in [rad]. The constants were tuned on LIBERO's
objects.
"""

import dataclasses
from typing import Any

import numpy as np

_OPENING = 0.074  # width of the widest object that fits between the open fingers
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


@dataclasses.dataclass(frozen=True)
class Grasp:
    point: np.ndarray  # [3] position of the grip site
    yaw: float  # rotation of the gripper about z from its initial orientation
    below: float  # how far the object extends below the grip site


class Geometry:
    """Geometry answers questions about a scene from its `privileged` observation."""

    def __init__(self, privileged: dict[str, Any]):
        self.goal: list[list[str]] = privileged["goal"]
        self.hand: np.ndarray = privileged["gripper"]["position"]
        self.facing: np.ndarray = privileged["gripper"]["rotation"]
        self.finger_axis: np.ndarray = privileged["gripper"]["axis"]
        self._owners, self._boxes = privileged["owners"], privileged["boxes"]
        self._bodies, self._sites = privileged["bodies"], privileged["sites"]

    def knows(self, name: str) -> bool:
        return name in self._bodies or name in self._sites

    def is_solid(self, name: str) -> bool:
        """Return whether `name` has collision boxes, so that a gripper could grasp it. Regions have none."""
        return bool(self._owned_by(name).any())

    def position(self, name: str) -> np.ndarray:
        """Return the position, [3], of an object, fixture or site."""
        return self._sites[name]["position"] if name in self._sites else self._bodies[name]

    def carrier(self, target: str) -> str:
        """Return the object that a site belongs to, or `target` itself if it is an object."""
        return self._sites[target]["of"] if target in self._sites else target

    def corners(self, name: str) -> np.ndarray:
        """Return the corners, [K, 3], of an object's boxes; K is 0 for the table."""
        mine = self._owned_by(name)
        local = _CORNERS * self._boxes["half"][mine, None]
        turned = np.einsum("nij,nkj->nki", self._boxes["rotation"][mine], local)
        return (turned + self._boxes["center"][mine, None]).reshape(-1, 3)

    def occupied(self, point: np.ndarray, radius: float, ignoring: str) -> bool:
        """Return whether a ball touches a box of anything but `ignoring` and the robot."""
        inside = np.einsum("nji,nj->ni", self._boxes["rotation"], point - self._boxes["center"])
        gap = np.linalg.norm(np.maximum(np.abs(inside) - self._boxes["half"], 0), axis=1)
        return bool(np.any((gap < radius) & ~self._owned_by(ignoring)))

    def _owned_by(self, name: str) -> np.ndarray:
        return self._boxes["owner"] == (self._owners.index(name) if name in self._owners else -2)


def plan_grasp(scene: Geometry, name: str, finger_axis: np.ndarray, attempt: int) -> Grasp:
    """Return the `attempt`-th best grasp, counted from 0.

    Objects that fit between the fingers are grasped from both sides. Wider objects are assumed to be open, and are
    pinched at the rim.
    """
    corners = scene.corners(name)
    start = float(np.arctan2(finger_axis[1], finger_axis[0]))
    turns = np.deg2rad(np.arange(-90, 90, 3))
    widths = np.array([np.ptp(corners[:, :2] @ _direction(start + turn)) for turn in turns])
    if widths.min() < _OPENING:
        narrow = turns[widths <= widths.min() + 0.004]
        candidates = _straddling(scene, name, corners, start, narrow)
        attempt *= 2  # neighbours in this list are nearly identical grasps
    else:
        candidates = _at_the_rim(scene, name, corners, start)
    candidates.sort(key=lambda candidate: candidate[0])
    _, yaw, point = candidates[min(attempt, len(candidates) - 1)]
    return Grasp(point, float(yaw), float(point[2] - corners[:, 2].min()))


Candidates = list[tuple[float, float, np.ndarray]]
"""Tuples (cost, yaw, point)."""


def _straddling(scene: Geometry, name: str, corners: np.ndarray, start: float, turns: np.ndarray) -> Candidates:
    """List grasps with a finger on each side, in the middle of the object or up to 3 cm along it."""
    low, high = corners[:, 2].min(), corners[:, 2].max()
    height = max(low + 0.012, high - min(0.035, 0.55 * (high - low)))
    found: Candidates = []
    for turn in turns:
        across, along = _direction(start + turn), _direction(start + turn + np.pi / 2)
        (left, right), (near, far) = _extent(corners, across), _extent(corners, along)
        for share in (0.0, 0.5, -0.5):
            shift = float(np.clip(share * (far - near) / 2, -0.03, 0.03))
            xy = across * (left + right) / 2 + along * ((near + far) / 2 + shift)
            point = np.array([*xy, height])
            share = shift / ((far - near) / 2) if far > near else 0.0
            cost = 0.3 * abs(turn) + 0.2 * abs(share) + _blocked_straddle(scene, name, point, across)
            found.append((cost, turn, point))
    return found


def _at_the_rim(scene: Geometry, name: str, corners: np.ndarray, start: float) -> Candidates:
    """List grasps with one finger inside and one outside, at twelve points around the rim."""
    high = corners[:, 2].max()
    centre = (corners.min(axis=0) + corners.max(axis=0))[:2] / 2
    rim = corners[corners[:, 2] > high - 0.012, :2]
    found: Candidates = []
    for degrees in (0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90):
        outward = _direction(start + np.deg2rad(degrees))
        reach = (rim @ outward).max() - centre @ outward
        point = np.array([*(centre + outward * (reach - 0.004)), high - 0.012])
        yaw = (np.deg2rad(degrees) + np.pi / 2) % np.pi - np.pi / 2  # either finger may be the outer one
        found.append((0.01 * abs(yaw) + _blocked_rim(scene, name, point, outward), yaw, point))
    return found


def _blocked_straddle(scene: Geometry, name: str, point: np.ndarray, across: np.ndarray) -> float:
    """Count the open fingers and sides of the hand that would collide with another object."""
    probes = [(side * 0.05, 0.006, 0.010) for side in (1, -1)] + [(side * 0.09, 0.10, 0.02) for side in (1, -1)]
    return _count_blocked(scene, name, point, across, probes)


def _blocked_rim(scene: Geometry, name: str, point: np.ndarray, outward: np.ndarray) -> float:
    """Count the collisions of the outer finger and of the hand, which extends over the object."""
    probes = [(0.035, -0.005, 0.012), (0.045, 0.05, 0.02), (0.08, 0.11, 0.03), (-0.09, 0.11, 0.03)]
    return _count_blocked(scene, name, point, outward, probes)


def _count_blocked(
    scene: Geometry, name: str, point: np.ndarray, direction: np.ndarray, probes: list[tuple[float, float, float]]
) -> float:
    """Count the occupied balls. A probe is: shift along `direction`, shift up, radius."""
    balls = ((point + np.array([*(shift * direction), up]), radius) for shift, up, radius in probes)
    return float(sum(scene.occupied(ball, radius, name) for ball, radius in balls))


def _direction(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _extent(corners: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    along = corners[:, :2] @ direction
    return float(along.min()), float(along.max())
