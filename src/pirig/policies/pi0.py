"""Run a π0 or π0.5 checkpoint as a policy: observation -> model inputs -> normalized actions -> actions."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pirig import seeding
from pirig.errors import PolicyError
from pirig.models.config import CAMERA_SLOTS, ModelConfig
from pirig.models.sampling import Batch
from pirig.policies.backends import Backend, Shapes, sample
from pirig.policies.recipes import Recipe
from pirig.transforms import libero
from pirig.transforms.actions import absolute_actions, pad
from pirig.transforms.normalize import NormStats, normalize, unnormalize
from pirig.transforms.pipeline import Transform, chain
from pirig.transforms.prompt import PromptTokenizer, tokenize
from pirig.types import STANDARD_OBSERVATIONS, Metadata, Observation

_READ = (*STANDARD_OBSERVATIONS, "prompt")
_CAMERAS = (True, True, False)  # the camera slots that LIBERO fills


class Pi0Policy:
    """A π0 policy implements `interfaces.Policy`. Only one thread may use it at a time."""

    def __init__(
        self,
        recipe: Recipe,
        backend: Backend,
        shapes: Shapes,
        tokenizer: PromptTokenizer,
        stats: Mapping[str, NormStats],
        metadata: Metadata,
    ):
        self._config: ModelConfig = recipe.model
        self._backend, self._shapes = backend, shapes
        self._inputs = inputs_for(recipe, tokenizer, stats)
        self._outputs = outputs_for(recipe, stats)
        self.metadata: Metadata = metadata
        self.max_batch = shapes.max_batch

    def infer(self, obs: Observation, *, noise: np.ndarray | None = None) -> dict[str, Any]:
        """Return `actions`, float64[T, 7], and `policy_timing` for one observation.

        `noise`, float32[T, A], replaces the noise that the observation's noise key determines. Raises PolicyError if
        the observation is incomplete or an array has the wrong shape.
        """
        return self.infer_batch([obs], noises=None if noise is None else [noise])[0]

    def infer_batch(
        self, observations: Sequence[Observation], *, noises: Sequence[np.ndarray] | None = None
    ) -> list[dict[str, Any]]:
        """Return a list whose item i is what `infer(observations[i])` returns."""
        prepared = [self._inputs(_check(obs)) for obs in observations]
        shape = (self._config.action_horizon, self._config.action_size)
        if noises is None:
            noises = [seeding.noise(noise_key(obs), shape) for obs in observations]
        wrong = [np.shape(noise) for noise in noises if np.shape(noise) != shape]
        if wrong:
            raise PolicyError(f"noise must be of shape {list(shape)}; found {list(wrong[0])}")
        start = time.perf_counter()
        actions = sample(self._backend, self._shapes, batch_of(prepared, noises))
        timing = {"infer_ms": 1e3 * (time.perf_counter() - start)}
        return [
            {**self._outputs({"state": given["state"], "actions": own}), "policy_timing": timing}
            for given, own in zip(prepared, actions, strict=True)
        ]

    def close(self) -> None:
        """Do nothing: the model's memory is freed with the policy object."""

    def warm_up(self) -> float:
        """Compile every shape and return the time that it took [s]."""
        start = time.perf_counter()
        self._backend.compile(self._shapes.all(_CAMERAS), trim=self._shapes.trim)
        return time.perf_counter() - start


def inputs_for(recipe: Recipe, tokenizer: PromptTokenizer, stats: Mapping[str, NormStats]) -> Transform:
    """Return the transform of an observation to the model's inputs.

    These are `image/SLOT`, `image_mask/SLOT`, `state`, `tokenized_prompt` and `tokenized_prompt_mask`.
    """
    side = recipe.model.vision.image
    return chain(
        libero.inputs,
        normalize(stats, quantile=recipe.quantile),
        libero.resize_images(side, side),
        tokenize(tokenizer, discrete_state=False),
        pad(recipe.model.action_size),
    )


def outputs_for(recipe: Recipe, stats: Mapping[str, NormStats]) -> Transform:
    """Return the transform of normalized `state` and `actions` to `actions`, float64[T, 7]."""
    relative = [absolute_actions(recipe.relative)] if recipe.relative else []
    return chain(unnormalize(stats, quantile=recipe.quantile), *relative, libero.outputs)


def noise_key(obs: Observation) -> str:
    """Return the observation's noise key, or by default a digest of all values that the policy reads.

    With the digest, equal observations give equal actions.
    """
    if key := obs.get("noise_key"):
        return str(key)
    digest = hashlib.blake2b(digest_size=16)
    for name in _READ:
        value = obs[name]
        parts = (value,) if isinstance(value, str) else (np.asarray(value).dtype.str, np.asarray(value).tobytes())
        for part in parts:
            digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def _check(obs: Observation) -> Observation:
    missing = [name for name in _READ if name not in obs]
    if missing:
        raise PolicyError(
            f"the observation lacks {', '.join(missing)}; found {', '.join(sorted(obs)) or 'nothing'}; "
            f"expected {', '.join(_READ)}"
        )
    for name in _READ[:2]:
        shape = np.shape(obs[name])
        if len(shape) != 3 or 3 not in (shape[0], shape[2]):
            raise PolicyError(f"{name} must be of shape [H, W, 3]; found {list(shape)}")
    if np.shape(obs["observation/state"]) != (8,):
        raise PolicyError(f"observation/state must be of shape [8]; found {list(np.shape(obs['observation/state']))}")
    return obs


def batch_of(prepared: Sequence[Mapping[str, Any]], noises: Sequence[np.ndarray]) -> Batch:
    """Stack the results of `inputs_for`, and noise float32[T, A] for each, into one batch."""
    assert len(libero.CAMERA_SLOTS) == CAMERA_SLOTS

    def stack(key: str, dtype: type) -> np.ndarray:
        return np.stack([np.asarray(one[key], dtype) for one in prepared])

    return Batch(
        images=np.stack([stack(f"image/{slot}", np.uint8) for slot in libero.CAMERA_SLOTS], axis=1),
        cameras=np.stack([stack(f"image_mask/{slot}", np.bool_) for slot in libero.CAMERA_SLOTS], axis=1),
        tokens=stack("tokenized_prompt", np.int32),
        words=stack("tokenized_prompt_mask", np.bool_),
        state=stack("state", np.float32),
        noise=np.stack([np.asarray(noise, np.float32) for noise in noises]),
    )
