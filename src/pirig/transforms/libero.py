"""Convert LIBERO observations to the inputs of π0 and π0.5, and the models' outputs to LIBERO actions."""

from typing import Any

import numpy as np

from pirig.transforms.images import resize_with_pad
from pirig.transforms.pipeline import Transform

_ACTION_SIZE = 7
CAMERA_SLOTS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
"""The models' three image inputs. LIBERO has two cameras, so the third slot is black and masked."""


def inputs(data: dict[str, Any]) -> dict[str, Any]:
    """Convert wire keys to model keys: `state`, `image/SLOT`, `image_mask/SLOT`; `prompt` and `actions` if present."""
    base, wrist = _parse_image(data["observation/image"]), _parse_image(data["observation/wrist_image"])
    images = dict(zip(CAMERA_SLOTS, (base, wrist, np.zeros_like(base)), strict=True))
    masks = dict(zip(CAMERA_SLOTS, (True, True, False), strict=True))
    return {
        "state": data["observation/state"],
        **{f"image/{slot}": image for slot, image in images.items()},
        **{f"image_mask/{slot}": np.bool_(mask) for slot, mask in masks.items()},
        **{key: data[key] for key in ("prompt", "actions") if key in data},
    }


def outputs(data: dict[str, Any]) -> dict[str, Any]:
    """Return only the actions, cut to LIBERO's seven dimensions."""
    return {"actions": np.asarray(data["actions"][:, :_ACTION_SIZE])}


def resize_images(height: int, width: int) -> Transform:
    """Return the transform that resizes every `image/SLOT` to one size, with padding."""
    return lambda data: {
        key: resize_with_pad(value, height, width) if key.startswith("image/") else value for key, value in data.items()
    }


def _parse_image(image: np.ndarray) -> np.ndarray:
    """Convert an image, uint8 or float in [0, 1], channels first or last, to uint8[H, W, 3].

    Floats are truncated, as in the reference.
    """
    image = np.asarray(image)
    if np.issubdtype(image.dtype, np.floating):
        image = (255 * image).astype(np.uint8)
    return np.transpose(image, (1, 2, 0)) if image.shape[0] == 3 else image
