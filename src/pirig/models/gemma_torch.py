"""Compute Gemma in PyTorch: the prefix by the language model, the suffix by the action expert. Mirrors gemma_jax.

Axes: B samples, S prefix tokens, T suffix tokens, D width, N heads, K key heads, H size of a head, F hidden size,
L layers. The arithmetic is that of the reference's JAX model, with which the checkpoints were trained: norms, logits
and softmax are float32, the rest has the dtype of the weights. (The reference's PyTorch model rounds RoPE's
frequencies to bfloat16; this model does not.) Module names are those of the reference's state dict.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pirig.models.config import GemmaSize
from pirig.models.sampling import rope_frequencies


class Norm(NamedTuple):
    """The modulation after RMS normalization. RMSNorm has only a gain; adaRMS computes all three from the time."""

    gain: Tensor  # [..., D], 1 + scale
    shift: Tensor | None = None
    gate: Tensor | None = None  # residual gate: multiplies what the block adds to its input

    def row(self, *index: int) -> "Norm":
        gain, shift, gate = self
        return Norm(gain[index], None if shift is None else shift[index], None if gate is None else gate[index])


Multiply = Callable[[Tensor], Tensor]


@runtime_checkable
class JoinsOthers(Protocol):
    """A layer that is not an nn.Linear and can be joined with other layers of its own type."""

    def joined_with(self, others: Sequence[nn.Module]) -> Multiply | None:
        """Return one product for this layer and `others`, or None if they cannot be joined."""
        ...


class Joined(NamedTuple):
    """Linear layers with the same input, concatenated. The layers' own weights are views of this one."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Rotation(NamedTuple):
    """The rotary embedding of positions, float32[B, T, 1, H / 2]."""

    sin: Tensor
    cos: Tensor


class Cache(NamedTuple):
    """The KV cache of the prefix, [B, S, K, H] for each layer."""

    keys: list[Tensor]
    values: list[Tensor]


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))


class AdaRMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.dense = nn.Linear(width, 3 * width)


class SelfAttention(nn.Module):
    def __init__(self, size: GemmaSize):
        super().__init__()
        self.q_proj = nn.Linear(size.width, size.heads * size.head_dim, bias=False)
        self.k_proj = nn.Linear(size.width, size.kv_heads * size.head_dim, bias=False)
        self.v_proj = nn.Linear(size.width, size.kv_heads * size.head_dim, bias=False)
        self.o_proj = nn.Linear(size.heads * size.head_dim, size.width, bias=False)
        self.qkv: Multiply | None = None


class FeedForward(nn.Module):
    def __init__(self, size: GemmaSize):
        super().__init__()
        self.gate_proj = nn.Linear(size.width, size.mlp, bias=False)
        self.up_proj = nn.Linear(size.width, size.mlp, bias=False)
        self.down_proj = nn.Linear(size.mlp, size.width, bias=False)
        self.gate_up: Multiply | None = None


class Layer(nn.Module):
    def __init__(self, size: GemmaSize, time_in_norm: bool):
        super().__init__()
        norm = AdaRMSNorm if time_in_norm else RMSNorm
        self.input_layernorm: RMSNorm | AdaRMSNorm = norm(size.width)
        self.self_attn = SelfAttention(size)
        self.post_attention_layernorm: RMSNorm | AdaRMSNorm = norm(size.width)
        self.mlp = FeedForward(size)


class Gemma(nn.Module):
    """The weights of a decoder. The functions below do the computation."""

    def __init__(self, size: GemmaSize, *, time_in_norm: bool = False, vocabulary: int = 0):
        super().__init__()
        if vocabulary:
            self.embed_tokens = nn.Embedding(vocabulary, size.width)
        layers = nn.ModuleList(Layer(size, time_in_norm) for _ in range(size.depth))
        self.layers = cast("Sequence[Layer]", layers)
        self.norm: RMSNorm | AdaRMSNorm = (AdaRMSNorm if time_in_norm else RMSNorm)(size.width)
        self._head_dim = size.head_dim
        self.frequencies: Tensor | None = None
        self.fixed_norms: tuple[Norm, Norm, Norm] | None = None  # None if they depend on the time

    def settle(self, *, joined: bool = True) -> None:
        """Join weights that have the same input, and compute constants.

        Call it once, after the weights have been loaded onto their final device.
        """
        self.frequencies = torch.from_numpy(rope_frequencies(self._head_dim)).to(_device(self))
        for layer in self.layers:
            attention, mlp = layer.self_attn, layer.mlp
            if joined:
                attention.qkv = join([attention.q_proj, attention.k_proj, attention.v_proj])
                mlp.gate_up = join([mlp.gate_proj, mlp.up_proj])
        if isinstance(self.norm, RMSNorm):
            self.fixed_norms = norms(self)


def norms(w: Gemma) -> tuple[Norm, Norm, Norm]:
    """Return the RMSNorms before attention [L, D], before the feed-forward [L, D] and after the last layer [D]."""
    attention = torch.stack([_scale(layer.input_layernorm) for layer in w.layers])
    ffw = torch.stack([_scale(layer.post_attention_layernorm) for layer in w.layers])
    return Norm(1 + attention), Norm(1 + ffw), Norm(1 + _scale(w.norm))


def _scale(norm: RMSNorm | AdaRMSNorm) -> Tensor:
    assert isinstance(norm, RMSNorm)
    return norm.weight


def prefix(
    x: Tensor, mask: Tensor, turn: Rotation, w: Gemma, attention: Norm, ffw: Norm, size: GemmaSize, *, trim: bool
) -> tuple[Tensor, Cache]:
    """Compute the KV cache of x: [B, S, D], with all tokens attending to all tokens in `mask`: bool[B, S].

    Returns the output of the last layer and the cache. With `trim`, returns the input of the last layer instead,
    because only the keys and values of that layer are used.
    """
    see = sight(mask[:, None, :], size)
    cache = Cache([], [])
    for i, own in enumerate(w.layers):
        before, between = attention.row(i), ffw.row(i)
        q, k, v = project(normalize(x, before), own, turn, size)
        cache.keys.append(k)
        cache.values.append(v)
        if trim and i + 1 == size.depth:
            break
        x = add(x, own.self_attn.o_proj(attend(q, k, v, see)), before.gate)
        x = add(x, feed_forward(normalize(x, between), own.mlp), between.gate)
    return x, cache


def suffix(
    x: Tensor, cache: Cache, see: Tensor, turn: Rotation, w: Gemma, attention: Norm, ffw: Norm, size: GemmaSize
) -> Tensor:
    """Run x: [B, T, D] through all layers. `see` is `sight` of the attention mask bool[B, T, S + T], prefix first."""
    for i, own in enumerate(w.layers):
        before, between = attention.row(i), ffw.row(i)
        q, k, v = project(normalize(x, before), own, turn, size)
        k, v = torch.cat([cache.keys[i], k], dim=1), torch.cat([cache.values[i], v], dim=1)
        x = add(x, own.self_attn.o_proj(attend(q, k, v, see)), before.gate)
        x = add(x, feed_forward(normalize(x, between), own.mlp), between.gate)
    return x


def project(x: Tensor, w: Layer, turn: Rotation, size: GemmaSize) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries [B, T, N, H], keys and values [B, T, K, H], with rotary embedding on queries and keys."""
    n, k, own = size.heads, size.kv_heads, w.self_attn
    merged = side_by_side(x, own.qkv, [own.q_proj, own.k_proj, own.v_proj])
    merged = merged.view(*x.shape[:2], n + 2 * k, size.head_dim)
    rotated = rope(merged[:, :, : n + k], turn)
    return rotated[:, :, :n], rotated[:, :, n:], merged[:, :, n + k :]


def sight(mask: Tensor, size: GemmaSize) -> Tensor:
    """Expand the attention mask bool[B, T or 1, S] to bool[B, 1, T G or 1, S], the shape that `attend` expects.

    G is the number of query heads that share a key head.
    """
    if mask.shape[1] > 1:
        mask = mask.repeat_interleave(size.heads // size.kv_heads, dim=1)
    return mask[:, None]


def attend(q: Tensor, k: Tensor, v: Tensor, see: Tensor) -> Tensor:
    """Compute attention, [B, T, N H], of queries [B, T, N, H] to keys and values [B, S, K, H].

    `see` is the attention mask, as `sight` returns it. Query heads that share a key head become additional queries.
    """
    batch, tokens, heads, head_dim = q.shape
    groups = heads // k.shape[2]
    q = q.reshape(batch, tokens, -1, groups, head_dim).transpose(1, 2).reshape(batch, -1, tokens * groups, head_dim)
    y = F.scaled_dot_product_attention(q, k.transpose(1, 2), v.transpose(1, 2), see, scale=head_dim**-0.5)
    return y.reshape(batch, -1, tokens, groups, head_dim).transpose(1, 2).reshape(batch, tokens, -1)


def feed_forward(x: Tensor, w: FeedForward) -> Tensor:
    gate, up = side_by_side(x, w.gate_up, [w.gate_proj, w.up_proj]).chunk(2, dim=-1)
    return w.down_proj(F.gelu(gate, approximate="tanh") * up)


def normalize(x: Tensor, norm: Norm) -> Tensor:
    """Apply RMSNorm (Zhang & Sennrich, arXiv 1910.07467) with epsilon 1e-6."""
    full = x.float()
    full = full * torch.rsqrt(full.square().mean(dim=-1, keepdim=True) + 1e-6) * norm.gain
    return (full if norm.shift is None else full + norm.shift).to(x.dtype)


def add(x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
    return x + y if gate is None else x + y * gate


def rotation(positions: Tensor, frequencies: Tensor) -> Rotation:
    """Compute the rotary embedding of positions, int32[B, T], with the frequencies of `sampling.rope_frequencies`."""
    angle = positions[..., None, None].float() * frequencies
    return Rotation(angle.sin(), angle.cos())


def rope(x: Tensor, turn: Rotation) -> Tensor:
    """Apply the rotary embedding to pairs (i, i + H/2) of x: [B, T, N, H], in float32 (Su et al., arXiv 2104.09864)."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * turn.cos - b * turn.sin, b * turn.cos + a * turn.sin], dim=-1).to(x.dtype)


def _device(w: nn.Module) -> torch.device:
    return next(w.parameters()).device


def join(parts: Sequence[nn.Module]) -> Multiply | None:
    """Join several layers into one product. Their weights become views of its weight, so nothing is stored twice.

    Layers that are not nn.Linear are joined by their own method (`JoinsOthers`). Returns None if they have none or
    cannot be joined.
    """
    plain = [part for part in parts if isinstance(part, nn.Linear)]
    if len(plain) < len(parts):
        first = parts[0]
        return first.joined_with(parts[1:]) if isinstance(first, JoinsOthers) else None
    return _side_by_side(plain)


def _side_by_side(parts: Sequence[nn.Linear]) -> Joined:
    weight = torch.cat([part.weight.data for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias.data for part in parts])
    start = 0
    for part in parts:
        rows = slice(start, start + part.out_features)
        part.weight = nn.Parameter(weight[rows], requires_grad=False)
        if bias is not None:
            part.bias = nn.Parameter(bias[rows], requires_grad=False)
        start = rows.stop
    return Joined(weight, bias)


def side_by_side(x: Tensor, joined: Multiply | None, parts: Sequence[nn.Module]) -> Tensor:
    """Return the concatenated outputs of `parts` for x. This is a single product if they are joined."""
    if joined is None:
        return torch.cat([part(x) for part in parts], dim=-1)
    return joined(x)
