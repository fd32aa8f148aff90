"""Compute, in NumPy, what the sampler needs besides weights: denoising times, attention masks, positions, trimming.

A batch's sequence is [camera 0 | camera 1 | camera 2 | prompt], then the suffix [state token of π0 | actions].
Prefix tokens attend to each other; suffix tokens attend to the prefix and to the suffix up to their own block.

Law: Masked tokens take no position and receive no attention, so removing them does not change the result.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pirig.models.config import ModelConfig

MASKED = -2.3819763e38
"""Gemma's logit for masked positions, the second most negative bfloat16."""
_MIN_PERIOD, _MAX_PERIOD = 4e-3, 4.0  # of the time embedding; openpi pi0.py


@dataclasses.dataclass(frozen=True)
class Batch:
    """The input of a model: B samples, C cameras, P prompt tokens, T actions of size A."""

    images: np.ndarray  # uint8[B, C, H, W, 3]
    cameras: np.ndarray  # bool[B, C]: True if the image is present
    tokens: np.ndarray  # int32[B, P]
    words: np.ndarray  # bool[B, P]: True at tokens, False at padding
    state: np.ndarray  # float32[B, A], normalized; π0.5 does not read it
    noise: np.ndarray  # float32[B, T, A]

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: np.ndarray) -> "Batch":
        return Batch(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

    def pad(self, size: int) -> "Batch":
        """Repeat the last sample until there are `size` samples."""
        missing = size - len(self)
        if missing <= 0:
            return self
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Batch(*(np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for x in values))


def trim(batch: Batch, tokens: int | None = None) -> Batch:
    """Drop cameras that no sample has, and prompt columns from `tokens` on (default: after the longest prompt)."""
    if tokens is None:
        tokens = int(batch.words.sum(axis=1).max(initial=1))
    used = batch.cameras.any(axis=0)
    images = batch.images if used.all() else batch.images[:, used]
    return dataclasses.replace(
        batch,
        images=images,
        cameras=batch.cameras[:, used],
        tokens=batch.tokens[:, :tokens],
        words=batch.words[:, :tokens],
    )


def bucket(size: int, sizes: Sequence[int]) -> int:
    """Return the smallest of the ascending `sizes` that is at least `size`. Raises ValueError if all are smaller."""
    for candidate in sizes:
        if size <= candidate:
            return candidate
    raise ValueError(f"{size} is more than {sizes[-1]}")


def prompt_buckets(max_tokens: int, step: int = 16) -> tuple[int, ...]:
    """Return one to three times `step`, which is enough for every LIBERO prompt, then the model's longest prompt."""
    return (*(n for n in (step, 2 * step, 3 * step) if n < max_tokens), max_tokens)


def batch_buckets(max_batch: int) -> tuple[int, ...]:
    """Return the powers of two below `max_batch`, then `max_batch`."""
    sizes = []
    while (size := 2 ** len(sizes)) < max_batch:
        sizes.append(size)
    return (*sizes, max_batch)


def prefix_layout(batch: Batch, image_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of the prefix tokens, bool[B, S], and their positions, int32[B, S]."""
    mask = np.concatenate([np.repeat(batch.cameras, image_tokens, axis=1), batch.words], axis=1)
    return mask, (np.cumsum(mask, axis=1) - 1).astype(np.int32)


def suffix_positions(prefix_mask: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Return the positions of the suffix tokens, int32[B, T'], which continue those of the prefix."""
    return (prefix_mask.sum(axis=1)[:, None] + np.arange(config.suffix_tokens)).astype(np.int32)


def suffix_mask(config: ModelConfig) -> np.ndarray:
    """Return the attention mask of the suffix, bool[T', T']: row attends to column.

    The state token does not attend to the actions.
    """
    blocks = np.minimum(np.arange(config.suffix_tokens), 0 if config.time_in_norm else 1)
    return blocks[None, :] <= blocks[:, None]


def times(steps: int) -> np.ndarray:
    """Return the denoising times, float32[S]: 1.0, 0.9, …, 0.09999993.

    They are accumulated in float32, as in the reference's loop.
    """
    step = np.float32(-1.0 / steps)
    return np.add.accumulate(np.array([1.0] + [step] * (steps - 1), np.float32), dtype=np.float32)


def time_embedding(time: np.ndarray, width: int) -> np.ndarray:
    """Return the embedding of denoising times, float32[S, width]: sines, then cosines (openpi `posemb_sincos`).

    The periods go from 0.004 to 4 in equal ratios. Values are rounded at the same places as in the reference's JAX
    model, which this function matches to 1e-7. Arguments reach 1571 rad, so a single omitted rounding already causes a
    difference of 1e-4. (The reference's PyTorch model computes in float64, and has that difference.)
    """
    half = width // 2
    share = np.arange(half, dtype=np.float32) * np.float32(1 / (half - 1))
    period = np.float32(_MIN_PERIOD) * ((_MAX_PERIOD / _MIN_PERIOD) ** share.astype(np.float64)).astype(np.float32)
    angle = time[:, None] * (np.float32(1.0) / period * np.float32(2 * np.pi))[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def rope_frequencies(head_dim: int) -> np.ndarray:
    """Return the frequencies of the rotary embedding, float32[H / 2] [rad per position].

    The wavelengths go from 2π up to 10 000 times that (Su et al., arXiv 2104.09864).
    """
    exponents = np.float32(2.0 / head_dim) * np.arange(head_dim // 2, dtype=np.float32)
    return (np.float32(1.0) / np.float32(10_000.0) ** exponents).astype(np.float32)
