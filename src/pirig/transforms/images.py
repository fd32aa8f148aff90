"""Prepare camera images for a policy. Inputs and outputs are uint8[H, W, 3].

Law: The results are byte-equal to those of openpi's client (`image_tools.resize_with_pad`), with which every openpi
    policy was evaluated.
"""

import numpy as np
from PIL import Image


def upright(image: np.ndarray) -> np.ndarray:
    """Rotate a robosuite image by 180°, as openpi's LIBERO training data was. The result is C-contiguous."""
    return np.ascontiguousarray(image[::-1, ::-1])


def resize_with_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale an image to fit into height x width, keeping the aspect ratio, and pad it evenly with black.

    The filter is Pillow's antialiased bilinear filter. Sizes and offsets are truncated to whole pixels.
    """
    old_height, old_width = image.shape[:2]
    if (old_height, old_width) == (height, width):
        return image
    ratio = max(old_width / width, old_height / height)
    new_height, new_width = int(old_height / ratio), int(old_width / ratio)
    resized = Image.fromarray(image).resize((new_width, new_height), resample=Image.Resampling.BILINEAR)
    if (new_height, new_width) == (height, width):
        return np.asarray(resized)
    padded = np.zeros((height, width, image.shape[2]), image.dtype)
    top, left = max(0, int((height - new_height) / 2)), max(0, int((width - new_width) / 2))
    padded[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return padded
