import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pirig.transforms.proprioception import axis_angle, state_vector

ANGLES = st.floats(-3.0, 3.0)


@given(ANGLES, ANGLES, ANGLES)
def test_the_axis_angle_is_the_rotation(x, y, z):
    rotation = Rotation.from_euler("xyz", [x, y, z])
    again = Rotation.from_rotvec(axis_angle(rotation.as_quat()))
    assert (again * rotation.inv()).magnitude() < 1e-6


def test_the_antipodal_quaternion_keeps_its_long_way_round():
    """w < 0 gives an angle above π: what the policies were trained on, though it is the same rotation."""
    quaternion = np.array([0.6, 0.0, 0.0, -0.8])
    assert np.linalg.norm(axis_angle(quaternion)) == pytest.approx(2 * np.arccos(-0.8))
    assert np.linalg.norm(axis_angle(-quaternion)) == pytest.approx(2 * np.arccos(0.8))


@pytest.mark.parametrize("w", [1.0, -1.0, 1.0 + 1e-12])
def test_no_rotation_is_zero_even_when_rounding_passes_one(w):
    assert np.array_equal(axis_angle(np.array([0.0, 0.0, 0.0, w])), np.zeros(3))


def test_the_state_is_position_rotation_fingers_and_changes_no_input():
    quaternion = np.array([0.0, 0.0, 0.0, 1.0 + 1e-12])
    state = state_vector(np.array([1.0, 2.0, 3.0]), quaternion, np.array([0.04, -0.04]))
    assert state.dtype == np.float64
    assert state.tolist() == [1, 2, 3, 0, 0, 0, 0.04, -0.04]
    assert quaternion[3] == 1.0 + 1e-12
