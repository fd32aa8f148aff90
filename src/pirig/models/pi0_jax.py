"""Compute π0 and π0.5 in JAX: from images and a prompt to an action chunk, by flow matching. Mirrors pi0_torch.

    images, prompt ─ encode, embed ─► prefix ─ language model ─► KV cache
    noise ─► [ action_in ─► expert, attends to the cache ─► action_out = velocity; x += dt · velocity ] × steps

π0 (Black et al., arXiv 2410.24164) reads the state as a token and mixes the time into the action tokens. π0.5
(arXiv 2504.16054) modulates the expert's norms by the time. `Tables` holds precomputed values that depend only on the
time. Source: openpi `models/pi0.py` (commit 15a9616).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pirig.models import gemma_jax as gemma
from pirig.models import siglip_jax as siglip
from pirig.models.config import ModelConfig
from pirig.models.gemma_jax import Array, Cache, Norm
from pirig.models.sampling import rope_frequencies, suffix_mask, time_embedding, times
from pirig.models.siglip_jax import Affine


class Heads(NamedTuple):
    """The small layers around the expert, in float32. A layer that the model does not have is None."""

    action_in: Affine  # [A, D]
    time_in: Affine  # π0: [2 D, D], rows of the actions, then of the time; π0.5: [D, D]
    time_out: Affine  # [D, D]
    state: Affine | None  # [A, D]


class Weights(NamedTuple):
    vision: siglip.Vision
    words: Array  # [V, D]
    llm: gemma.Layers
    llm_norms: tuple[Norm, Norm, Norm]
    expert: gemma.Layers
    expert_norms: tuple[Norm, Norm, Norm] | None  # π0
    modulations: tuple[Affine, Affine, Affine] | None  # π0.5, adaRMS: [L, D, 3 D], [L, D, 3 D], [D, 3 D]
    heads: Heads
    action_out: Affine  # [D, A]


class Tables(NamedTuple):
    """The values that depend only on the denoising time. The first axis is S, the denoising steps."""

    attention: Norm  # [S, L, D]
    ffw: Norm
    final: Norm  # [S, D]
    time: Array | None  # π0: float32[S, D], added to the action tokens' hidden layer


class Inputs(NamedTuple):
    """The contents of a `sampling.Batch` with its masks and positions."""

    images: Array  # uint8[B, C, H, W, 3]
    tokens: Array  # int32[B, P]
    mask: Array  # bool[B, S]
    positions: Array  # int32[B, S]
    suffix_positions: Array  # int32[B, T']
    state: Array  # float32[B, A]
    noise: Array  # float32[B, T, A]


def weights(arrays: Mapping[str, np.ndarray], config: ModelConfig, put: Callable[[np.ndarray], Array]) -> Weights:
    """Return the weights from the JAX tree, in the model's dtype. `put` copies an array to the device."""
    get = arrays.__getitem__

    def affine(path: str) -> Affine:
        return Affine(put(get(f"{path}/kernel")), put(get(f"{path}/bias")))

    def head(path: str) -> Affine:
        return jax.tree.map(lambda x: x.astype(jnp.float32), affine(path))

    if config.time_in_norm:
        paths = ("layers/pre_attention_norm_1", "layers/pre_ffw_norm_1", "final_norm_1")
        attention, ffw, final = (affine(f"PaliGemma/llm/{path}/Dense_0") for path in paths)
        expert_norms, modulations = None, (attention, ffw, final)
        heads = Heads(head("action_in_proj"), head("time_mlp_in"), head("time_mlp_out"), None)
    else:
        expert_norms, modulations = gemma.norms(get, "_1", put), None
        names = ("action_in_proj", "action_time_mlp_in", "action_time_mlp_out", "state_proj")
        heads = Heads(*(head(name) for name in names))
    return Weights(
        vision=siglip.vision(get, config.vision, put),
        words=put(get("PaliGemma/llm/embedder/input_embedding")),
        llm=gemma.layers(get, config.llm, "", put),
        llm_norms=gemma.norms(get, "", put),
        expert=gemma.layers(get, config.expert, "_1", put),
        expert_norms=expert_norms,
        modulations=modulations,
        heads=heads,
        action_out=affine("action_out_proj"),
    )


def tabulate(w: Weights, config: ModelConfig) -> Tables:
    embedding = jnp.asarray(time_embedding(times(config.steps), config.expert.width))
    if w.expert_norms is not None:
        kernel, bias = w.heads.time_in
        time = embedding @ kernel[config.expert.width :] + bias
        repeated = (Norm(jnp.repeat(norm.gain[None], config.steps, axis=0)) for norm in w.expert_norms)
        return Tables(*repeated, time=time)
    assert w.modulations is not None
    condition = time_condition(embedding, w.heads).astype(w.words.dtype)
    attention, ffw, final = (modulation(condition, dense) for dense in w.modulations)
    return Tables(attention, ffw, final, None)


def time_condition(embedding: Array, heads: Heads) -> Array:
    """Return the condition of adaRMS, float32[S, D], from the time embedding (π0.5)."""
    hidden = jax.nn.swish(embedding @ heads.time_in.weight + heads.time_in.bias)
    return jax.nn.swish(hidden @ heads.time_out.weight + heads.time_out.bias)


def modulation(condition: Array, dense: Affine) -> Norm:
    """Compute the adaRMS modulation, three arrays [S, (L,) D], from the condition [S, D]."""
    merged = jnp.einsum("sd,...de->s...e", condition, dense.weight) + dense.bias
    scale, shift, gate = jnp.split(merged, 3, axis=-1)
    return Norm(1 + scale, shift, gate)


def sample(inputs: Inputs, w: Weights, tables: Tables | None, config: ModelConfig) -> Array:
    """Generate normalized actions, float32[B, T, A], from the noise by flow matching.

    With `tables`, computation whose result is never read is skipped. Without, everything is computed as in the
    reference.
    """
    x, _ = embed_prefix(inputs, w, config)
    cache = fill_cache(x, inputs, w, config, trim=tables is not None)
    return denoise(inputs, cache, w, tables if tables is not None else tabulate(w, config), config)


def fill_cache(x: Array, inputs: Inputs, w: Weights, config: ModelConfig, *, trim: bool) -> Cache:
    """Compute the KV cache of the prefix x, which `embed_prefix` returns."""
    attention, ffw, _ = w.llm_norms
    turn = gemma.rotation(inputs.positions, rope_frequencies(config.llm.head_dim))
    return gemma.prefix(x, inputs.mask, turn, w.llm, attention, ffw, config.llm, trim=trim)[1]


def denoise(inputs: Inputs, cache: Cache, w: Weights, tables: Tables, config: ModelConfig) -> Array:
    """Integrate by Euler steps from the noise at time 1 to the actions, float32[B, T, A], at time 0."""
    see = suffix_sight(inputs.mask, config)
    turn = gemma.rotation(inputs.suffix_positions, rope_frequencies(config.expert.head_dim))

    def step(x: Array, own: Tables) -> tuple[Array, None]:
        v = velocity(x, inputs.state, cache, see, turn, w, own, config)
        return x + np.float32(-1.0 / config.steps) * v, None

    return jax.lax.scan(step, inputs.noise, tables)[0]


def embed_prefix(inputs: Inputs, w: Weights, config: ModelConfig) -> tuple[Array, Array]:
    """Return the prefix, [B, S, D], and its image part.

    All cameras are encoded in one call. The prompt follows the images.
    """
    batch, cameras = inputs.images.shape[:2]
    seen = siglip.encode(inputs.images.reshape(batch * cameras, *inputs.images.shape[2:]), w.vision, config.vision)
    seen = seen.reshape(batch, -1, config.llm.width)
    words = w.words[inputs.tokens] * jnp.sqrt(config.llm.width).astype(w.words.dtype)
    return jnp.concatenate([seen, words], axis=1), seen


def suffix_sight(mask: Array, config: ModelConfig) -> Array:
    """Return the attention mask of the suffix, bool[B, T', S + T']."""
    own = jnp.asarray(suffix_mask(config))
    rows = (len(mask), *own.shape)
    return jnp.concatenate(
        [jnp.broadcast_to(mask[:, None], (*rows[:2], mask.shape[1])), jnp.broadcast_to(own, rows)], axis=2
    )


def velocity(
    x: Array, state: Array, cache: Cache, see: Array, turn: gemma.Rotation, w: Weights, own: Tables, config: ModelConfig
) -> Array:
    """Compute the velocity, [B, T, A], at one denoising time. `own` is the row of the tables for that time."""
    tokens = embed_suffix(x, state, w.heads, own.time).astype(w.words.dtype)
    y = gemma.suffix(tokens, cache, see, turn, w.expert, own.attention, own.ffw, config.expert)
    y = gemma.normalize(y, own.final)[:, -config.action_horizon :]
    return y @ w.action_out.weight + w.action_out.bias


def embed_suffix(x: Array, state: Array, heads: Heads, time: Array | None) -> Array:
    """Embed the suffix tokens, float32[B, T', D]. `time` is π0's row of `Tables.time`."""
    actions = x @ heads.action_in.weight + heads.action_in.bias
    if heads.state is None or time is None:
        return actions
    hidden = jax.nn.swish(actions @ heads.time_in.weight[: actions.shape[-1]] + time)
    actions = hidden @ heads.time_out.weight + heads.time_out.bias
    return jnp.concatenate([(state @ heads.state.weight + heads.state.bias)[:, None], actions], axis=1)
