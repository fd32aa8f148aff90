"""Draw random numbers as a pure function of (episode, call). Nothing else holds a seed.

Noise is drawn on the host with Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a
counter-based generator, so that any worker, order, batch or backend gets the same numbers.
"""

import hashlib

import numpy as np

from pirig.types import EpisodeSpec


def noise_key(spec: EpisodeSpec, call: int) -> str:
    """Names the noise of the `call`-th chunk (from 0) of an episode; travels in the observation."""
    return f"{spec.key}/call{call}"


def noise(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32[shape], decided by `key` alone."""
    words = np.frombuffer(hashlib.blake2b(key.encode(), digest_size=16).digest(), dtype="<u8")
    return np.random.Generator(np.random.Philox(key=words)).standard_normal(shape, dtype=np.float32)
