"""Compute Gemma in JAX: the prefix by the language model, the suffix by the action expert. Mirrors gemma_torch.

Axes: B samples, S prefix tokens, T suffix tokens, D width, N heads, K key heads, H size of a head, F hidden size,
L layers. The arithmetic is that of the reference (openpi `models/gemma.py`): norms, logits and softmax are float32,
the rest has the dtype of the weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pirig.models.config import GemmaSize
from pirig.models.sampling import MASKED

Array = jax.Array
Get = Callable[[str], np.ndarray]
"""Return an array of the JAX tree by its path, in the model's dtype."""


class Norm(NamedTuple):
    """The modulation after RMS normalization. RMSNorm has only a gain; adaRMS computes all three from the time."""

    gain: Array  # [..., D], 1 + scale
    shift: Array | None = None
    gate: Array | None = None  # residual gate: multiplies what the block adds to its input


class Layers(NamedTuple):
    """The weights, stacked over layers. Weights with the same input are joined, so that one product computes them."""

    qkv: Array  # [L, D, (N + 2K) H]
    out: Array  # [L, N H, D]
    gate_up: Array  # [L, D, 2 F]
    down: Array  # [L, F, D]


class Rotation(NamedTuple):
    """The rotary embedding of positions, float32[B, T, 1, H / 2]."""

    sin: Array
    cos: Array


class Cache(NamedTuple):
    """The KV cache of the prefix."""

    keys: Array  # [L, B, S, K, H]
    values: Array


def layers(get: Get, size: GemmaSize, suffix: str, put: Callable[[np.ndarray], Array]) -> Layers:
    """Convert the weights to the layout of the products, on the host. `suffix` is "" or, for the expert, "_1"."""
    base, depth, width = "PaliGemma/llm/layers/", size.depth, size.width

    def qkv() -> np.ndarray:  # [L, N, D, H] and [L, 2, K, D, H]
        q, kv = get(f"{base}attn/q_einsum{suffix}/w"), get(f"{base}attn/kv_einsum{suffix}/w")
        parts = (q, kv[:, 0], kv[:, 1])
        return np.concatenate([part.transpose(0, 2, 1, 3).reshape(depth, width, -1) for part in parts], axis=2)

    def gate_up() -> np.ndarray:  # [L, 2, D, F]
        gating = get(f"{base}mlp{suffix}/gating_einsum")
        return np.concatenate([gating[:, 0], gating[:, 1]], axis=2)

    out = get(f"{base}attn/attn_vec_einsum{suffix}/w").reshape(depth, -1, width)
    return Layers(put(qkv()), put(out), put(gate_up()), put(get(f"{base}mlp{suffix}/linear")))


def norms(get: Get, suffix: str, put: Callable[[np.ndarray], Array]) -> tuple[Norm, Norm, Norm]:
    """Return the RMSNorms before attention [L, D], before the feed-forward [L, D] and after the last layer [D]."""
    paths = (f"layers/pre_attention_norm{suffix}", f"layers/pre_ffw_norm{suffix}", f"final_norm{suffix}")
    attention, ffw, final = (Norm(1 + put(get(f"PaliGemma/llm/{path}/scale"))) for path in paths)
    return attention, ffw, final


def prefix(
    x: Array, mask: Array, turn: Rotation, w: Layers, attention: Norm, ffw: Norm, size: GemmaSize, *, trim: bool
) -> tuple[Array, Cache]:
    """Compute the KV cache of x: [B, S, D], with all tokens attending to all tokens in `mask`: bool[B, S].

    Returns the output of the last layer and the cache. With `trim`, returns the input of the last layer instead,
    because only the keys and values of that layer are used.
    """
    see = mask[:, None, :]

    def layer(x: Array, index: Array) -> tuple[Array, tuple[Array, Array]]:
        own, before, between = jax.tree.map(lambda a: a[index], (w, attention, ffw))
        q, k, v = project(normalize(x, before), own, turn, size)
        x = add(x, attend(q, k, v, see) @ own.out, before.gate)
        return add(x, feed_forward(normalize(x, between), own), between.gate), (k, v)

    depth = size.depth - 1 if trim else size.depth
    x, (keys, values) = jax.lax.scan(layer, x, jnp.arange(depth))  # indices: slices of the weights would be copies
    if trim:
        own, before = jax.tree.map(lambda a: a[-1], (w, attention))
        _, k, v = project(normalize(x, before), own, turn, size)
        keys, values = jnp.concatenate([keys, k[None]]), jnp.concatenate([values, v[None]])
    return x, Cache(keys, values)


def suffix(
    x: Array, cache: Cache, see: Array, turn: Rotation, w: Layers, attention: Norm, ffw: Norm, size: GemmaSize
) -> Array:
    """Run x: [B, T, D] through all layers. `see` is the attention mask bool[B, T, S + T], prefix first."""

    def layer(x: Array, own: tuple[Layers, Norm, Norm, Array, Array]) -> tuple[Array, None]:
        w, before, between, keys, values = own
        q, k, v = project(normalize(x, before), w, turn, size)
        k, v = jnp.concatenate([keys, k], axis=1), jnp.concatenate([values, v], axis=1)
        x = add(x, attend(q, k, v, see) @ w.out, before.gate)
        return add(x, feed_forward(normalize(x, between), w), between.gate), None

    return jax.lax.scan(layer, x, (w, attention, ffw, cache.keys, cache.values))[0]


def project(x: Array, w: Layers, turn: Rotation, size: GemmaSize) -> tuple[Array, Array, Array]:
    """Return queries [B, T, N, H], keys and values [B, T, K, H], with rotary embedding on queries and keys."""
    n, k = size.heads, size.kv_heads
    merged = (x @ w.qkv).reshape(*x.shape[:2], n + 2 * k, size.head_dim)
    rotated = rope(merged[:, :, : n + k], turn)
    return rotated[:, :, :n], rotated[:, :, n:], merged[:, :, n + k :]


def attend(q: Array, k: Array, v: Array, see: Array) -> Array:
    """Compute attention, [B, T, N H], of queries [B, T, N, H] to keys and values [B, S, K, H].

    `see` is the attention mask bool[B, T or 1, S].
    """
    batch, tokens, _, head_dim = q.shape
    q = q.reshape(batch, tokens, k.shape[2], -1, head_dim) * head_dim**-0.5
    logits = jnp.einsum("btkgh,bskh->bkgts", q, k, preferred_element_type=jnp.float32)
    logits = jnp.where(see[:, None, None], logits, MASKED)
    shares = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bkgts,bskh->btkgh", shares, v).reshape(batch, tokens, -1)


def feed_forward(x: Array, w: Layers) -> Array:
    gate, up = jnp.split(x @ w.gate_up, 2, axis=-1)
    return (jax.nn.gelu(gate, approximate=True) * up) @ w.down


def normalize(x: Array, norm: Norm) -> Array:
    """Apply RMSNorm (Zhang & Sennrich, arXiv 1910.07467) with epsilon 1e-6."""
    full = x.astype(jnp.float32)
    full = full * (1 / jnp.sqrt(jnp.mean(jnp.square(full), axis=-1, keepdims=True) + 1e-6)) * norm.gain
    return (full if norm.shift is None else full + norm.shift).astype(x.dtype)


def add(x: Array, y: Array, gate: Array | None) -> Array:
    return x + y if gate is None else x + y * gate


def rotation(positions: Array, frequencies: np.ndarray) -> Rotation:
    """Compute the rotary embedding of positions, int32[B, T], with the frequencies of `sampling.rope_frequencies`."""
    angle = positions[..., None, None].astype(jnp.float32) * frequencies
    return Rotation(jnp.sin(angle), jnp.cos(angle))


def rope(x: Array, turn: Rotation) -> Array:
    """Apply the rotary embedding to pairs (i, i + H/2) of x: [B, T, N, H], in float32 (Su et al., arXiv 2104.09864)."""
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * turn.cos - b * turn.sin, b * turn.cos + a * turn.sin], axis=-1).astype(x.dtype)
