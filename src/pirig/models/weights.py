"""One table that maps the JAX tree to the PyTorch state dict and back.

A JAX array holds all layers of one weight; PyTorch has one tensor per layer, and splits some further. Layouts are
written as einsum does, with brackets around axes that are merged: `NDH->(NH)D` turns [N, D, H] into [N*H, D].

Axes: D width, N heads, K key heads, H size of a head, F hidden size, V vocabulary, P patch, C colours, T positions.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pirig.errors import ConfigError
from pirig.models.config import GemmaSize, ModelConfig, VisionSize

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """One PyTorch tensor: the part `index` of the JAX array at `path`, in another layout."""

    name: str
    path: str
    index: tuple[int, ...]
    layout: str
    source: Shape  # of the part, before the layout

    @property
    def shape(self) -> Shape:
        return _merged(self.layout, self.source)


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    path: str
    shape: Shape  # of one layer
    layers: int  # 0: not stacked
    targets: tuple[tuple[str, tuple[int, ...]], ...]  # PyTorch name, part of the layer's array
    layout: str


_BLOCK = "PaliGemma/img/Transformer/encoderblock/"
_TOWER = "paligemma_with_expert.paligemma.model.vision_tower.vision_model."
_LLM = "paligemma_with_expert.paligemma.model.language_model."
_EXPERT = "paligemma_with_expert.gemma_expert.model."
_EMBEDDING = f"{_LLM}embed_tokens.weight"
_TIED = "paligemma_with_expert.paligemma.lm_head.weight"  # PaliGemma's output matrix is its embedding
_UNUSED = frozenset({_TIED, "paligemma_with_expert.gemma_expert.lm_head.weight"})  # actions need no words

_OTHER = {  # the other model and what only it has, by `time_in_norm` of the one that was asked for
    True: ("π0", {"state_proj/kernel", "state_proj.weight"}),
    False: ("π0.5", {"time_mlp_in/kernel", "time_mlp_in.weight"}),
}


def jax_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Path of each array of the JAX tree and its shape."""
    return {row.path: (row.layers, *row.shape) if row.layers else row.shape for row in _rows(config)}


def torch_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Name of each tensor of the PyTorch state dict and its shape."""
    return {piece.name: piece.shape for pieces in _pieces(config).values() for piece in pieces}


def as_jax(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Mapping[str, np.ndarray]:
    """The JAX tree by path, from a PyTorch state dict or a JAX tree; made when asked for.

    Raises ConfigError where `arrays` is not exactly the model of `config`.
    """
    checked = check(arrays, config)
    return _Assembled(checked, config) if is_torch(arrays) else checked


def as_torch(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array, one after another, from a PyTorch state dict or a JAX tree.

    `arrays` may load what is asked for. The biggest come first, while the most memory is free. Raises ConfigError
    where `arrays` is not exactly the model of `config`.
    """
    if is_torch(arrays):
        arrays = check(arrays, config)
        yield from ((name, arrays[name]) for name in _biggest_first(torch_shapes(config)))
        return
    check(arrays, config)
    pieces = _pieces(config)
    for path in _biggest_first(jax_shapes(config)):
        whole = arrays[path]
        for piece in pieces[path]:
            yield piece.name, _merge(whole[piece.index], piece.layout)


def split(path: str, part: tuple[int, ...], array: np.ndarray, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """The PyTorch tensors in the part `part` (a layer, or all) of the JAX array at `path`."""
    for piece in _pieces(config)[path]:
        if piece.index[: len(part)] == part:
            yield piece.name, _merge(array[piece.index[len(part) :]], piece.layout)


def is_torch(names: Iterable[str]) -> bool:
    return any(name.startswith("paligemma_with_expert.") for name in names)


def check(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Mapping[str, np.ndarray]:
    """`arrays` without what the model does not use, the tied embedding under its name.

    Raises ConfigError naming what is missing, too much, or of another shape.
    """
    found = shapes_of(arrays)
    if is_torch(found):
        expected = torch_shapes(config)
        alias = {_EMBEDDING: _TIED} if _EMBEDDING not in found and _TIED in found else {}
        arrays = _Renamed(arrays, {name: alias.get(name, name) for name in found if name not in _UNUSED} | alias)
        found = {name: found[source] for name, source in arrays.names.items()}
    else:
        expected = jax_shapes(config)
    problems = [
        *_listed("missing", [name for name in expected if name not in found]),
        *_listed("not part of the model", [name for name in found if name not in expected]),
        *_listed(
            "of another shape",
            [f"{n} {found[n]} instead of {expected[n]}" for n in expected if n in found and found[n] != expected[n]],
        ),
    ]
    if problems:
        asked = "π0.5 (time in the norms)" if config.time_in_norm else "π0 (a state token)"
        other, has = _OTHER[config.time_in_norm]
        hint = f"; it looks like a checkpoint of {other}: choose another recipe" if found.keys() & has else ""
        raise ConfigError(f"the checkpoint is not the model that was asked for, {asked}: {'; '.join(problems)}{hint}")
    return arrays


def shapes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """Without loading anything where `arrays` has a `shapes` of its own."""
    shapes = getattr(arrays, "shapes", None)
    return dict(shapes) if shapes is not None else {name: array.shape for name, array in arrays.items()}


class _Assembled(Mapping[str, np.ndarray]):
    """JAX arrays, each put together from PyTorch tensors when it is asked for."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: ModelConfig):
        self._tensors, self._pieces, self.shapes = tensors, _pieces(config), jax_shapes(config)

    def __getitem__(self, path: str) -> np.ndarray:
        whole: np.ndarray | None = None
        for piece in self._pieces[path]:
            part = _unmerge(self._tensors[piece.name], piece.layout, piece.source)
            whole = np.empty(self.shapes[path], part.dtype) if whole is None else whole
            whole[piece.index] = part
        assert whole is not None
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class _Renamed(Mapping[str, np.ndarray]):
    """Some arrays of another mapping, under other names; still loaded when asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray], names: Mapping[str, str]):
        self._arrays, self.names = arrays, names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[self.names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _listed(what: str, names: list[str], shown: int = 4) -> list[str]:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return [f"{what}: {', '.join(names[:shown])}{more}"] if names else []


def _rows(config: ModelConfig) -> Iterator[_Row]:
    yield from _vision_rows(config.vision, config.llm.width)
    yield _Row("PaliGemma/llm/embedder/input_embedding", (config.vocabulary, config.llm.width), 0,
               ((_EMBEDDING, ()),), "VD->VD")  # fmt: skip
    yield from _gemma_rows(config.llm, "", _LLM, time_in_norm=False)
    yield from _gemma_rows(config.expert, "_1", _EXPERT, time_in_norm=config.time_in_norm)
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
    """`suffix`: of the expert's names in the JAX tree."""
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


def _pieces(config: ModelConfig) -> dict[str, list[Piece]]:
    found: dict[str, list[Piece]] = {}
    for row in _rows(config):
        found[row.path] = [
            Piece(name.format(layer), row.path, (layer, *part) if row.layers else part, row.layout,
                  row.shape[len(part) :])
            for layer in range(row.layers or 1)
            for name, part in row.targets
        ]  # fmt: skip
    return found


def _biggest_first(shapes: Mapping[str, Shape]) -> list[str]:
    return sorted(shapes, key=lambda name: -math.prod(shapes[name]))


def _groups(layout: str) -> tuple[str, list[str]]:
    """`DNH->(NH)D` -> "DNH", ["NH", "D"]"""
    left, right = layout.split("->")
    return left, [match.strip("()") for match in re.findall(r"\(\w+\)|\w", right)]


def _merged(layout: str, shape: Shape) -> Shape:
    left, groups = _groups(layout)
    sizes = dict(zip(left, shape, strict=True))
    return tuple(math.prod(sizes[axis] for axis in group) for group in groups)


def _merge(array: np.ndarray, layout: str) -> np.ndarray:
    left, groups = _groups(layout)
    order = [left.index(axis) for axis in "".join(groups)]
    return np.ascontiguousarray(array.transpose(order)).reshape(_merged(layout, array.shape))


def _unmerge(array: np.ndarray, layout: str, shape: Shape) -> np.ndarray:
    left, groups = _groups(layout)
    sizes, axes = dict(zip(left, shape, strict=True)), "".join(groups)
    return array.reshape([sizes[axis] for axis in axes]).transpose([axes.index(axis) for axis in left])
