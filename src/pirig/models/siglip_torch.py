"""Compute SigLIP's image encoder in PyTorch. Mirrors siglip_jax.

Axes: B images, T patches, D width, N heads, F hidden size, L layers. Patch and position embeddings and softmax are
float32, as in the reference (openpi `models/siglip.py`); the rest has the dtype of the weights. Module names are those
of the reference's state dict.
"""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from pirig.models.config import VisionSize
from pirig.models.gemma_torch import Multiply, join, side_by_side


class Embeddings(nn.Module):
    def __init__(self, size: VisionSize):
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, size.width, size.patch, size.patch)
        self.position_embedding = nn.Embedding(size.tokens, size.width)


class SelfAttention(nn.Module):
    def __init__(self, size: VisionSize):
        super().__init__()
        self.k_proj = nn.Linear(size.width, size.width)
        self.v_proj = nn.Linear(size.width, size.width)
        self.q_proj = nn.Linear(size.width, size.width)
        self.out_proj = nn.Linear(size.width, size.width)
        self.qkv: Multiply | None = None


class FeedForward(nn.Module):
    def __init__(self, size: VisionSize):
        super().__init__()
        self.fc1 = nn.Linear(size.width, size.mlp)
        self.fc2 = nn.Linear(size.mlp, size.width)


class Block(nn.Module):
    def __init__(self, size: VisionSize):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(size.width, eps=1e-6)
        self.self_attn = SelfAttention(size)
        self.layer_norm2 = nn.LayerNorm(size.width, eps=1e-6)
        self.mlp = FeedForward(size)


class Encoder(nn.Module):
    def __init__(self, size: VisionSize):
        super().__init__()
        self.layers = cast("Sequence[Block]", nn.ModuleList(Block(size) for _ in range(size.depth)))


class Vision(nn.Module):
    """The weights of the encoder. The functions below do the computation."""

    def __init__(self, size: VisionSize):
        super().__init__()
        self.embeddings = Embeddings(size)
        self.encoder = Encoder(size)
        self.post_layernorm = nn.LayerNorm(size.width, eps=1e-6)

    def settle(self) -> None:
        """Join weights that have the same input.

        Call it once, after the weights have been loaded onto their final device.
        """
        for layer in self.encoder.layers:
            own = layer.self_attn
            own.qkv = join([own.q_proj, own.k_proj, own.v_proj])


def encode(images: Tensor, w: Vision, head: nn.Linear, size: VisionSize) -> Tensor:
    """Encode images, uint8[B, H, W, 3], to tokens, [B, T, D]; D is the width of the language model."""
    x = embed(images, w, size).to(w.post_layernorm.weight.dtype)
    for own in w.encoder.layers:
        x = block(x, own, size.heads)
    return head(w.post_layernorm(x))


def embed(images: Tensor, w: Vision, size: VisionSize) -> Tensor:
    """Return the embedded patches plus their position embeddings, float32[B, T, D]."""
    scaled = images.permute(0, 3, 1, 2).float() / 255.0 * 2.0 - 1.0
    x = w.embeddings.patch_embedding(scaled).flatten(2).transpose(1, 2)
    return x + w.embeddings.position_embedding.weight


def block(x: Tensor, w: Block, heads: int) -> Tensor:
    x = x + self_attention(w.layer_norm1(x), w.self_attn, heads)
    return x + w.mlp.fc2(F.gelu(w.mlp.fc1(w.layer_norm2(x)), approximate="tanh"))


def self_attention(x: Tensor, w: SelfAttention, heads: int) -> Tensor:
    batch, tokens, width = x.shape
    merged = side_by_side(x, w.qkv, [w.q_proj, w.k_proj, w.v_proj])
    q, k, v = merged.view(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
    return w.out_proj(mixed)
