"""Write the latest camera image that a policy receives to a file, for the live page.

Law 1: Nothing is rendered for the recorder, and it changes no observation and no answer.
Law 2: A file that cannot be written is no error, because the page does not affect results.
"""

import contextlib
import pathlib
import struct
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pirig.interfaces import Policy
from pirig.types import Metadata, Observation

_CAMERA = "observation/image"
_EVERY_S = 1.0


class FrameRecorder:
    """Wrap a policy and record its images. Implements interfaces.Policy.

    Replaces the file `path` (PNG) atomically, at most once per second.
    """

    def __init__(self, policy: Policy, path: pathlib.Path):
        self._policy, self._path, self._next_s = policy, path, 0.0

    @property
    def metadata(self) -> Metadata:
        return self._policy.metadata

    @property
    def max_batch(self) -> int:
        return self._policy.max_batch

    def infer(self, obs: Observation) -> dict[str, Any]:
        self._record(obs)
        return self._policy.infer(obs)

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        for obs in observations:
            self._record(obs)
        return self._policy.infer_batch(observations)

    def close(self) -> None:
        self._policy.close()

    def _record(self, obs: Observation) -> None:
        now, image = time.monotonic(), obs.get(_CAMERA)
        if image is None or now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        with contextlib.suppress(OSError):  # the folder is removed when the command ends
            partial = self._path.with_suffix(".tmp")
            partial.write_bytes(png(image))
            partial.rename(self._path)


def png(image: np.ndarray) -> bytes:
    """Encode `image`, uint8[H, W, 3], as PNG (ISO/IEC 15948).

    It uses no filter, since the size does not matter on the loopback interface.
    """
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
