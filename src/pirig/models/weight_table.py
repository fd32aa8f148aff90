"""Define the table of weights: path in the JAX tree, name in the PyTorch state dict, and layout conversion.

A JAX array holds all layers of one weight. PyTorch has one tensor per layer, and splits some weights further. Layouts
are written in einsum notation, with parentheses around merged axes: `NDH->(NH)D` converts [N, D, H] to [N*H, D].

Axes: D width, N heads, K key heads, H size of a head, F hidden size, V vocabulary, P patch, C colours, T positions.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

import numpy as np

from pirig.models.config import GemmaSize, ModelConfig, VisionSize

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A PyTorch tensor, as the part `index` of the JAX array at `path`, in a different layout."""

    name: str
    path: str
    index: tuple[int, ...]
    layout: str
    source: Shape  # of the part, before the layout conversion

    @property
    def shape(self) -> Shape:
        return merged(self.layout, self.source)


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    path: str
    shape: Shape  # of one layer
    layers: int  # 0: not stacked
    targets: tuple[tuple[str, tuple[int, ...]], ...]  # PyTorch name, part of the layer's array
    layout: str


_BLOCK = "PaliGemma/img/Transformer/encoderblock/"
_TOWER = "paligemma_with_expert.paligemma.model.vision_tower.vision_model."
LLM = "paligemma_with_expert.paligemma.model.language_model."
EXPERT = "paligemma_with_expert.gemma_expert.model."
EMBEDDING = f"{LLM}embed_tokens.weight"
TIED = "paligemma_with_expert.paligemma.lm_head.weight"  # PaliGemma's output matrix is its embedding


def jax_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the shape of each array of the JAX tree, by its path."""
    return {row.path: (row.layers, *row.shape) if row.layers else row.shape for row in _rows(config)}


def torch_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Return the shape of each tensor of the PyTorch state dict, by its name."""
    return {piece.name: piece.shape for pieces in pieces(config).values() for piece in pieces}


def pieces(config: ModelConfig) -> dict[str, list[Piece]]:
    """Return the PyTorch tensors that each array of the JAX tree contains, by its path."""
    found: dict[str, list[Piece]] = {}
    for row in _rows(config):
        found[row.path] = [
            Piece(name.format(layer), row.path, (layer, *part) if row.layers else part, row.layout,
                  row.shape[len(part) :])
            for layer in range(row.layers or 1)
            for name, part in row.targets
        ]  # fmt: skip
    return found


def _groups(layout: str) -> tuple[str, list[str]]:
    """Parse a layout: `DNH->(NH)D` gives "DNH", ["NH", "D"]."""
    left, right = layout.split("->")
    return left, [match.strip("()") for match in re.findall(r"\(\w+\)|\w", right)]


def merged(layout: str, shape: Shape) -> Shape:
    left, groups = _groups(layout)
    sizes = dict(zip(left, shape, strict=True))
    return tuple(math.prod(sizes[axis] for axis in group) for group in groups)


def merge(array: np.ndarray, layout: str) -> np.ndarray:
    left, groups = _groups(layout)
    order = [left.index(axis) for axis in "".join(groups)]
    return np.ascontiguousarray(array.transpose(order)).reshape(merged(layout, array.shape))


def unmerge(array: np.ndarray, layout: str, shape: Shape) -> np.ndarray:
    left, groups = _groups(layout)
    sizes, axes = dict(zip(left, shape, strict=True)), "".join(groups)
    return array.reshape([sizes[axis] for axis in axes]).transpose([axes.index(axis) for axis in left])


def _rows(config: ModelConfig) -> Iterator[_Row]:
    yield from _vision_rows(config.vision, config.llm.width)
    yield _Row("PaliGemma/llm/embedder/input_embedding", (config.vocabulary, config.llm.width), 0,
               ((EMBEDDING, ()),), "VD->VD")  # fmt: skip
    yield from _gemma_rows(config.llm, "", LLM, time_in_norm=False)
    yield from _gemma_rows(config.expert, "_1", EXPERT, time_in_norm=config.time_in_norm)
    width = config.expert.width
    yield from _dense("action_in_proj", config.action_size, width)
    yield from _dense("action_out_proj", width, config.action_size)
    if config.time_in_norm:
        yield from _dense("time_mlp_in", width, width)
        yield from _dense("time_mlp_out", width, width)
    else:
        yield from _dense("state_proj", config.action_size, width)
        yield from _dense("action_time_mlp_in", 2 * width, width)
        yield from _dense("action_time_mlp_out", width, width)


def _vision_rows(size: VisionSize, out: int) -> Iterator[_Row]:
    d, f, n, h, layers = size.width, size.mlp, size.heads, size.head_dim, size.depth
    embeddings, layer = f"{_TOWER}embeddings.", f"{_TOWER}encoder.layers.{{}}."
    patch = (size.patch, size.patch, 3, d)
    yield _Row("PaliGemma/img/embedding/kernel", patch, 0, ((f"{embeddings}patch_embedding.weight", ()),), "PQCD->DCPQ")
    yield _Row("PaliGemma/img/embedding/bias", (d,), 0, ((f"{embeddings}patch_embedding.bias", ()),), "D->D")
    yield _Row("PaliGemma/img/pos_embedding", (1, size.tokens, d), 0,
               ((f"{embeddings}position_embedding.weight", ()),), "BTD->(BT)D")  # fmt: skip
    for i, norm in enumerate(("layer_norm1", "layer_norm2")):
        yield from _layer_norm(f"{_BLOCK}LayerNorm_{i}", f"{layer}{norm}", d, layers)
    for path, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
        base, target = f"{_BLOCK}MultiHeadDotProductAttention_0/{path}/", f"{layer}self_attn.{name}."
        yield _Row(f"{base}kernel", (d, n, h), layers, ((f"{target}weight", ()),), "DNH->(NH)D")
        yield _Row(f"{base}bias", (n, h), layers, ((f"{target}bias", ()),), "NH->(NH)")
    base, target = f"{_BLOCK}MultiHeadDotProductAttention_0/out/", f"{layer}self_attn.out_proj."
    yield _Row(f"{base}kernel", (n, h, d), layers, ((f"{target}weight", ()),), "NHD->D(NH)")
    yield _Row(f"{base}bias", (d,), layers, ((f"{target}bias", ()),), "D->D")
    for i, (name, sizes) in enumerate((("fc1", (d, f)), ("fc2", (f, d)))):
        yield from _dense(f"{_BLOCK}MlpBlock_0/Dense_{i}", *sizes, name=f"{layer}mlp.{name}", layers=layers)
    yield from _layer_norm("PaliGemma/img/Transformer/encoder_norm", f"{_TOWER}post_layernorm", d)
    projector = "paligemma_with_expert.paligemma.model.multi_modal_projector.linear"
    yield from _dense("PaliGemma/img/head", d, out, name=projector)


def _gemma_rows(size: GemmaSize, suffix: str, prefix: str, *, time_in_norm: bool) -> Iterator[_Row]:
    """Yield the rows of a decoder. `suffix` is the suffix of its names in the JAX tree: "" or, for the expert, "_1"."""
    d, f, n, k, h, layers = size.width, size.mlp, size.heads, size.kv_heads, size.head_dim, size.depth
    if k != 1:
        raise ValueError("the table knows Gemma with one key head")
    layer = f"{prefix}layers.{{}}."
    base = "PaliGemma/llm/layers/"
    q = ((f"{layer}self_attn.q_proj.weight", ()),)
    kv = ((f"{layer}self_attn.k_proj.weight", (0, 0)), (f"{layer}self_attn.v_proj.weight", (1, 0)))
    gate_up = ((f"{layer}mlp.gate_proj.weight", (0,)), (f"{layer}mlp.up_proj.weight", (1,)))
    yield _Row(f"{base}attn/q_einsum{suffix}/w", (n, d, h), layers, q, "NDH->(NH)D")
    yield _Row(f"{base}attn/kv_einsum{suffix}/w", (2, k, d, h), layers, kv, "DH->HD")
    yield _Row(f"{base}attn/attn_vec_einsum{suffix}/w", (n, h, d), layers,
               ((f"{layer}self_attn.o_proj.weight", ()),), "NHD->D(NH)")  # fmt: skip
    yield _Row(f"{base}mlp{suffix}/gating_einsum", (2, d, f), layers, gate_up, "DF->FD")
    yield _Row(f"{base}mlp{suffix}/linear", (f, d), layers, ((f"{layer}mlp.down_proj.weight", ()),), "FD->DF")
    norms = (
        (f"{base}pre_attention_norm{suffix}", f"{layer}input_layernorm", layers),
        (f"{base}pre_ffw_norm{suffix}", f"{layer}post_attention_layernorm", layers),
        (f"PaliGemma/llm/final_norm{suffix}", f"{prefix}norm", 0),
    )
    for path, name, count in norms:
        if time_in_norm:
            yield from _dense(f"{path}/Dense_0", d, 3 * d, name=f"{name}.dense", layers=count)
        else:
            yield _Row(f"{path}/scale", (d,), count, ((f"{name}.weight", ()),), "D->D")


def _dense(path: str, inputs: int, outputs: int, *, name: str = "", layers: int = 0) -> Iterator[_Row]:
    name = name or path
    yield _Row(f"{path}/kernel", (inputs, outputs), layers, ((f"{name}.weight", ()),), "IO->OI")
    yield _Row(f"{path}/bias", (outputs,), layers, ((f"{name}.bias", ()),), "O->O")


def _layer_norm(path: str, name: str, width: int, layers: int = 0) -> Iterator[_Row]:
    yield _Row(f"{path}/scale", (width,), layers, ((f"{name}.weight", ()),), "D->D")
    yield _Row(f"{path}/bias", (width,), layers, ((f"{name}.bias", ()),), "D->D")
