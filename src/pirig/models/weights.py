"""Convert a model's weights between JAX tree and PyTorch state dict, with strict checks (see `weight_table`)."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from pirig.errors import ConfigError
from pirig.models.config import ModelConfig
from pirig.models.weight_table import EMBEDDING, TIED, Shape, jax_shapes, merge, pieces, torch_shapes, unmerge
from pirig.text import and_more

_UNUSED = frozenset({TIED, "paligemma_with_expert.gemma_expert.lm_head.weight"})  # actions need no output vocabulary

_OTHER = {  # by `time_in_norm` of the requested model: the other model, and weights that only the other model has
    True: ("π0", {"state_proj/kernel", "state_proj.weight"}),
    False: ("π0.5", {"time_mlp_in/kernel", "time_mlp_in.weight"}),
}


def as_jax(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Mapping[str, np.ndarray]:
    """Return the JAX tree by path, from a PyTorch state dict or a JAX tree. Arrays are converted on access.

    Raises ConfigError if `arrays` is not exactly the model of `config`.
    """
    checked = check(arrays, config)
    return _Assembled(checked, config) if is_torch(arrays) else checked


def as_torch(
    arrays: Mapping[str, np.ndarray], config: ModelConfig, *, without: Collection[str] = ()
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names and arrays of the PyTorch state dict, from a PyTorch state dict or a JAX tree.

    `arrays` may load an array on access; arrays in `without` are neither loaded nor yielded. The largest come first,
    while the most memory is free. Raises ConfigError if `arrays` is not exactly the model of `config`.
    """
    if is_torch(arrays):
        arrays = check(arrays, config)
        wanted = (name for name in _biggest_first(torch_shapes(config)) if name not in without)
        yield from ((name, arrays[name]) for name in wanted)
        return
    check(arrays, config)
    targets = pieces(config)
    for path in _biggest_first(jax_shapes(config)):
        wanted = [piece for piece in targets[path] if piece.name not in without]
        whole = arrays[path] if wanted else np.empty(0)
        for piece in wanted:
            yield piece.name, merge(whole[piece.index], piece.layout)


def split(path: str, part: tuple[int, ...], array: np.ndarray, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the PyTorch tensors in `part`, the index of a layer or () for all, of the JAX array at `path`."""
    for piece in pieces(config)[path]:
        if piece.index[: len(part)] == part:
            yield piece.name, merge(array[piece.index[len(part) :]], piece.layout)


def is_torch(names: Iterable[str]) -> bool:
    return any(name.startswith("paligemma_with_expert.") for name in names)


def check(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Mapping[str, np.ndarray]:
    """Return `arrays` without those that the model does not use, with the tied embedding under the embedding's name.

    Raises ConfigError, with a list of missing, unexpected and wrongly shaped arrays, if `arrays` is not the model.
    """
    found = shapes_of(arrays)
    if is_torch(found):
        expected = torch_shapes(config)
        alias = {EMBEDDING: TIED} if EMBEDDING not in found and TIED in found else {}
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
    """Return the shapes of `arrays`, without loading any array if it implements KnowsShapes."""
    return dict(arrays.shapes) if isinstance(arrays, KnowsShapes) else {n: array.shape for n, array in arrays.items()}


@runtime_checkable
class KnowsShapes(Protocol):
    """A mapping to arrays whose shapes are known before any array is loaded."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...


class _Assembled(Mapping[str, np.ndarray]):
    """This mapping assembles each JAX array from PyTorch tensors on access."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: ModelConfig):
        self._tensors, self._pieces, self.shapes = tensors, pieces(config), jax_shapes(config)

    def __getitem__(self, path: str) -> np.ndarray:
        whole: np.ndarray | None = None
        for piece in self._pieces[path]:
            part = unmerge(self._tensors[piece.name], piece.layout, piece.source)
            whole = np.empty(self.shapes[path], part.dtype) if whole is None else whole
            whole[piece.index] = part
        assert whole is not None
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class _Renamed(Mapping[str, np.ndarray]):
    """This mapping holds some arrays of another mapping under different names. They are still loaded on access."""

    def __init__(self, arrays: Mapping[str, np.ndarray], names: Mapping[str, str]):
        self._arrays, self.names = arrays, names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[self.names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _listed(what: str, names: list[str], shown: int = 4) -> list[str]:
    return [f"{what}: {and_more(names, shown)}"] if names else []


def _biggest_first(shapes: Mapping[str, Shape]) -> list[str]:
    return sorted(shapes, key=lambda name: -math.prod(shapes[name]))
