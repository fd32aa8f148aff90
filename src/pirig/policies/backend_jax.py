"""Run the model in JAX, as one jitted call from images to actions that is compiled ahead of time for every shape."""

import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from pirig.errors import ConfigError
from pirig.models import pi0_jax, weights
from pirig.models.config import ModelConfig
from pirig.models.sampling import Batch, prefix_layout, suffix_positions
from pirig.text import unknown

_LOOP_PASSES = "while-loop-invariant-code-motion,while-loop-expensive-invariant-code-motion"
_CPU_OPTIONS: dict[str, str | bool] = {"xla_disable_hlo_passes": _LOOP_PASSES}
"""XLA computes bfloat16 products in float32 on a CPU, and these passes would keep a float32 copy of all weights."""


class JaxBackend:
    """A JAX backend implements `backends.Backend`."""

    name = "jax"

    def __init__(self, arrays: Mapping[str, np.ndarray], config: ModelConfig, *, device: str | None = None):
        """Load the weights onto a device.

        Args:
            arrays: a state dict or tree in the model's dtype.
            device: cpu, cuda, cuda:1, …; default: JAX's default device.

        Raises ConfigError if the device does not exist.
        """
        self._config = config
        self._device = _find(device)
        put = functools.partial(jax.device_put, device=self._device)
        with jax.default_device(self._device):
            self._weights = pi0_jax.weights(weights.as_jax(arrays, config), config, put)
            self._tables = jax.jit(pi0_jax.tabulate, static_argnums=1)(self._weights, config)
        self.device = self._device.device_kind if self._device.platform != "cpu" else "cpu"
        self._jitted = jax.jit(functools.partial(pi0_jax.sample, config=config))
        self._vision = jax.jit(functools.partial(pi0_jax.embed_prefix, config=config))
        self._prefix = jax.jit(functools.partial(pi0_jax.fill_cache, config=config, trim=True))
        self._denoise = jax.jit(functools.partial(pi0_jax.denoise, config=config))
        self._compiled: dict[tuple[int, ...], jax.stages.Compiled] = {}

    def compile(self, batches: Sequence[Batch], *, trim: bool) -> None:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            list(threads.map(functools.partial(self._executable, trim=trim), batches))

    def sample(self, batch: Batch, *, trim: bool) -> np.ndarray:
        run = self._executable(batch, trim)
        return np.asarray(run(self._inputs(batch), self._weights, self._tables if trim else None))

    def parts(self, batch: Batch) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield vision, prefix and denoising as calls that return when the device has finished.

        Each call needs the results of the calls before it.
        """
        inputs, w, made = self._inputs(batch), self._weights, {}

        def timed(name: str, work: Callable[[], object]) -> tuple[str, Callable[[], object]]:
            def run() -> None:
                made[name] = jax.block_until_ready(work())

            return name, run

        yield timed("vision", lambda: self._vision(inputs, w)[0])
        yield timed("prefix", lambda: self._prefix(made["vision"], inputs, w))
        yield timed("denoising", lambda: self._denoise(inputs, made["prefix"], w, self._tables))

    def _executable(self, batch: Batch, trim: bool) -> jax.stages.Compiled:
        key = (*batch.images.shape[:2], batch.tokens.shape[1], trim)
        if key not in self._compiled:
            lowered = self._jitted.lower(self._inputs(batch), self._weights, self._tables if trim else None)
            options = _CPU_OPTIONS if self._device.platform == "cpu" else None
            self._compiled[key] = lowered.compile(options)
        return self._compiled[key]

    def _inputs(self, batch: Batch) -> pi0_jax.Inputs:
        mask, positions = prefix_layout(batch, self._config.vision.tokens)
        after = suffix_positions(mask, self._config)
        found = pi0_jax.Inputs(batch.images, batch.tokens, mask, positions, after, batch.state, batch.noise)  # ty: ignore
        return jax.device_put(found, self._device)


def _find(device: str | None) -> jax.Device:
    """Return the named device, or JAX's default. Raises ConfigError if it does not exist."""
    if device is None:
        return jax.devices()[0]
    platform, _, index = device.partition(":")
    try:
        return jax.devices(platform)[int(index or 0)]
    except (RuntimeError, IndexError, ValueError) as e:
        known = [f"{found.platform}:{found.id}" for found in jax.devices()]
        raise ConfigError(unknown("JAX device", device, known)) from e
