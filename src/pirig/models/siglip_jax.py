"""Compute SigLIP's image encoder in JAX. Mirrors siglip_torch.

Axes: B images, T patches, D width, N heads, F hidden size, L layers. Patch and position embeddings and softmax are
float32, as in the reference (openpi `models/siglip.py`); the rest has the dtype of the weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pirig.models.config import VisionSize
from pirig.models.gemma_jax import Array, Get


class Affine(NamedTuple):
    weight: Array
    bias: Array


class Blocks(NamedTuple):
    """The weights, stacked over layers."""

    norm1: Affine  # [L, D]
    qkv: Affine  # [L, D, 3 D]
    out: Affine  # [L, D, D]
    norm2: Affine
    fc1: Affine  # [L, D, F]
    fc2: Affine  # [L, F, D]


class Vision(NamedTuple):
    patch: Affine  # float32[P, P, 3, D]
    positions: Array  # float32[T, D]
    blocks: Blocks
    norm: Affine
    head: Affine  # [D, width of the language model]


def vision(get: Get, size: VisionSize, put: Callable[[np.ndarray], Array]) -> Vision:
    base, depth, width = "PaliGemma/img/", size.depth, size.width
    block = f"{base}Transformer/encoderblock/"

    def affine(path: str, weight: str = "kernel") -> Affine:
        return Affine(put(get(f"{path}/{weight}")), put(get(f"{path}/bias")))

    def qkv() -> Affine:  # [L, D, N, H] each
        paths = [f"{block}MultiHeadDotProductAttention_0/{name}" for name in ("query", "key", "value")]
        weights = [get(f"{path}/kernel").reshape(depth, width, width) for path in paths]
        biases = [get(f"{path}/bias").reshape(depth, width) for path in paths]
        return Affine(put(np.concatenate(weights, axis=2)), put(np.concatenate(biases, axis=1)))

    out = f"{block}MultiHeadDotProductAttention_0/out"
    blocks = Blocks(
        norm1=affine(f"{block}LayerNorm_0", "scale"),
        qkv=qkv(),
        out=Affine(put(get(f"{out}/kernel").reshape(depth, width, width)), put(get(f"{out}/bias"))),
        norm2=affine(f"{block}LayerNorm_1", "scale"),
        fc1=affine(f"{block}MlpBlock_0/Dense_0"),
        fc2=affine(f"{block}MlpBlock_0/Dense_1"),
    )
    patch = jax.tree.map(lambda x: x.astype(jnp.float32), affine(f"{base}embedding"))
    positions = put(get(f"{base}pos_embedding"))[0].astype(jnp.float32)
    return Vision(patch, positions, blocks, affine(f"{base}Transformer/encoder_norm", "scale"), affine(f"{base}head"))


def encode(images: Array, w: Vision, size: VisionSize) -> Array:
    """Encode images, uint8[B, H, W, 3], to tokens, [B, T, D]; D is the width of the language model."""
    x = embed(images, w, size).astype(w.head.weight.dtype)
    x = jax.lax.scan(lambda x, own: (block(x, own, size.heads), None), x, w.blocks)[0]
    return layer_norm(x, w.norm) @ w.head.weight + w.head.bias


def embed(images: Array, w: Vision, size: VisionSize) -> Array:
    """Return the embedded patches plus their position embeddings, float32[B, T, D]."""
    scaled = images.astype(jnp.float32) / 255.0 * 2.0 - 1.0
    stride = (size.patch, size.patch)
    axes = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(scaled, w.patch.weight, stride, "VALID", dimension_numbers=axes)
    return x.reshape(len(images), size.tokens, size.width) + w.patch.bias + w.positions


def block(x: Array, w: Blocks, heads: int) -> Array:
    x = x + self_attention(layer_norm(x, w.norm1), w, heads)
    y = layer_norm(x, w.norm2) @ w.fc1.weight + w.fc1.bias
    return x + (jax.nn.gelu(y, approximate=True) @ w.fc2.weight + w.fc2.bias)


def self_attention(x: Array, w: Blocks, heads: int) -> Array:
    batch, tokens, width = x.shape
    merged = (x @ w.qkv.weight + w.qkv.bias).reshape(batch, tokens, 3, heads, -1)
    q, k, v = merged[:, :, 0], merged[:, :, 1], merged[:, :, 2]
    logits = jnp.einsum("btnh,bsnh->bnts", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    shares = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    mixed = jnp.einsum("bnts,bsnh->btnh", shares, v).reshape(batch, tokens, width)
    return mixed @ w.out.weight + w.out.bias


def layer_norm(x: Array, w: Affine) -> Array:
    """Apply LayerNorm (Ba et al., arXiv 1607.06450) with epsilon 1e-6, in float32."""
    full = x.astype(jnp.float32)
    full = full - jnp.mean(full, axis=-1, keepdims=True)
    full = full * jax.lax.rsqrt(jnp.mean(jnp.square(full), axis=-1, keepdims=True) + 1e-6)
    return (full * w.weight + w.bias).astype(x.dtype)
