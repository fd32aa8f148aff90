"""Write episodes as mp4 in the reference's format: 10 frames per second, H.264."""

import pathlib
from collections.abc import Iterable
from typing import Any

import imageio.v2 as imageio
import numpy as np

from pirig.files import replacing

FRAMES_PER_SECOND = 10


def write_mp4(path: pathlib.Path, frames: Iterable[np.ndarray]) -> None:
    """Write a video, which gets its name only when it is complete.

    `frames`: uint8[H, W, 3] each.
    """
    with replacing(path, has_one_writer=True) as partial:
        writer: Any = imageio.get_writer(partial, fps=FRAMES_PER_SECOND)
        with writer:
            for frame in frames:
                writer.append_data(frame)
