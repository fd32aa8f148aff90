"""Convert relative actions to absolute ones, and pad state and actions to a model's action size."""

from collections.abc import Sequence

import numpy as np

from pirig.transforms.pipeline import Transform


def absolute_actions(mask: Sequence[bool]) -> Transform:
    """Return the transform that adds the state, [S], to the actions, [T, A], in the dimensions where `mask` is True.

    Only the first len(mask) dimensions of both are used. It is for policies trained on actions relative to the state
    at the start of the chunk, and works on unnormalized values.
    """
    return lambda data: {**data, "actions": _shift(data["actions"], data["state"], mask)}


def pad(size: int) -> Transform:
    """Return the transform that pads the last dimension of state and actions with zeros to `size`.

    Longer arrays are not changed.
    """
    return lambda data: {**data, **{key: _pad(data[key], size) for key in ("state", "actions") if key in data}}


def _shift(actions: np.ndarray, state: np.ndarray, mask: Sequence[bool]) -> np.ndarray:
    size, moved = len(mask), np.array(actions)
    moved[..., :size] += np.where(np.asarray(mask), state[..., :size], 0)[..., None, :]
    return moved


def _pad(x: np.ndarray, size: int) -> np.ndarray:
    missing = max(0, size - x.shape[-1])
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x
