"""Compute the proprioceptive state in the form that openpi's LIBERO policies were trained on."""

import math

import numpy as np


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation vector, float64[3] [rad], of a quaternion, float[4] in the order x, y, z, w.

    The angle is 2·acos(w), in [0, 2π]; the rotation is not reduced to the shorter direction, as in robosuite's
    `transform_utils.quat2axisangle`. The antipodal choice costs a policy 14 to 40 points.
    """
    w = min(max(float(quaternion[3]), -1.0), 1.0)
    sine = np.sqrt(1.0 - w * w)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    return (quaternion[:3] * 2.0 * math.acos(w)) / sine


def state_vector(position: np.ndarray, quaternion: np.ndarray, fingers: np.ndarray) -> np.ndarray:
    """Return the state, float64[8]: end-effector position [m], axis-angle [rad], two finger joints [m]."""
    return np.concatenate((position, axis_angle(quaternion), fingers))
