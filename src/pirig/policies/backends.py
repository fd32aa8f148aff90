"""Run a model on batches of any size, in shapes from a small fixed set, so that nothing is compiled during a run.

Law 1: A row's result does not depend on the other rows of its batch. By default, this holds to 1e-5 in float32.
Law 2: With `strict`, law 1 holds bit for bit, at least on the CPU: each row is computed in a batch of one fixed size,
    in the shape that its own prompt needs.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from pirig.models.config import CAMERA_SLOTS, ModelConfig
from pirig.models.sampling import Batch, batch_buckets, bucket, prompt_buckets, trim


class Backend(Protocol):
    """A backend is a model loaded onto a device."""

    name: str  # jax or torch
    device: str  # e.g. "cpu", "NVIDIA H100 80GB HBM3"

    def compile(self, batches: Sequence[Batch], *, trim: bool) -> None:
        """Prepare the model for batches of these shapes."""
        ...

    def sample(self, batch: Batch, *, trim: bool) -> np.ndarray:
        """Return normalized actions, float32[B, T, A]. With `trim`, skip computation whose result nothing reads."""
        ...

    def parts(self, batch: Batch) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield vision, prefix and denoising as calls that return when the device has finished.

        Each call needs the results of the calls before it.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The batch shapes that a model runs in. Without `trim`, these are the reference's: 3 cameras, longest prompt."""

    config: ModelConfig
    max_batch: int = 1
    trim: bool = True
    strict: bool = False

    def groups(self, batch: Batch) -> Iterator[tuple[np.ndarray, Batch]]:
        """Split `batch` into padded batches of these shapes, each with the indices in `batch` of its first rows."""
        lengths = self._prompt_sizes(batch)
        kinds = np.unique(lengths) if self.strict else [lengths.max()]
        for kind in kinds:
            rows = np.flatnonzero(lengths == kind) if self.strict else np.arange(len(batch))
            for start in range(0, len(rows), self.max_batch):
                own = rows[start : start + self.max_batch]
                part = self._trimmed(batch.rows(own), int(kind))
                size = self.max_batch if self.strict else bucket(len(own), batch_buckets(self.max_batch))
                yield own, part.pad(size)

    def all(self, cameras: Sequence[bool]) -> list[Batch]:
        """Return one blank batch of every shape. `cameras` says which camera slots the observations will fill."""
        sizes = (self.max_batch,) if self.strict else batch_buckets(self.max_batch)
        prompts = prompt_buckets(self.config.max_tokens) if self.trim else (self.config.max_tokens,)
        return [
            self._trimmed(_blank(self.config, size, prompt, cameras), prompt) for prompt in prompts for size in sizes
        ]

    def _prompt_sizes(self, batch: Batch) -> np.ndarray:
        if not self.trim:
            return np.full(len(batch), self.config.max_tokens)
        sizes = prompt_buckets(self.config.max_tokens)
        return np.array([bucket(int(n), sizes) for n in batch.words.sum(axis=1)])

    def _trimmed(self, batch: Batch, prompt: int) -> Batch:
        return trim(batch, prompt) if self.trim else batch


def sample(backend: Backend, shapes: Shapes, batch: Batch) -> np.ndarray:
    """Return the actions, float32[B, T, A], for a batch of any size."""
    actions = np.empty(batch.noise.shape, np.float32)
    for rows, part in shapes.groups(batch):
        actions[rows] = backend.sample(part, trim=shapes.trim)[: len(rows)]
    return actions


def _blank(config: ModelConfig, size: int, prompt: int, cameras: Sequence[bool]) -> Batch:
    side = config.vision.image
    return Batch(
        images=np.zeros((size, CAMERA_SLOTS, side, side, 3), np.uint8),
        cameras=np.tile(np.array(cameras, bool), (size, 1)),
        tokens=np.zeros((size, config.max_tokens), np.int32),
        words=np.tile(np.arange(config.max_tokens) < prompt, (size, 1)),
        state=np.zeros((size, config.action_size), np.float32),
        noise=np.zeros((size, config.action_horizon, config.action_size), np.float32),
    )
