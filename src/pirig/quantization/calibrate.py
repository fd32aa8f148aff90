"""Collect statistics of the layers' inputs while the float model runs on calibration observations.

`run()` runs the float model on all observations; its outputs are ignored. The statistics are collected by hooks at the
layers' inputs, for as many layers in one run as fit into memory.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pirig.quantization.rounding import Moments
from pirig.quantization.select import Group
from pirig.quantization.transform import Transform

Run = Callable[[], None]
_ROWS_OF_A_CALL = 8


@dataclasses.dataclass(eq=False)
class Channels:
    """The statistics of a group's input channels. Its repeated parts (heads) are merged into one."""

    maxima: Tensor  # float32[K]
    rows: Tensor  # float32[M, K], a sample of the input rows


def channels(
    model: nn.Module, groups: Sequence[Group], run: Run, percentile: float, most_rows: int
) -> dict[str, Channels]:
    """Return the channel statistics of each group, by its name.

    Args:
        percentile: the percentile of a channel's absolute values that counts as its maximum in one call of the layer.
            The largest value of all calls is used.
        most_rows: the largest number of input rows to keep, over all calls.
    """
    found: dict[str, Channels] = {}

    def see(group: Group, _: str, x: Tensor) -> None:
        x = x.reshape(-1, x.shape[1] // group.repeats)
        size = x.abs()
        rank = max(1, round(len(x) * percentile / 100))
        maxima = size.amax(0) if rank == len(x) else size.kthvalue(rank, dim=0).values
        kept = x[:: max(1, len(x) // _ROWS_OF_A_CALL)][:_ROWS_OF_A_CALL] if most_rows else x[:0]
        if group.name in found:
            before = found[group.name]
            maxima = torch.maximum(maxima, before.maxima)
            kept = torch.cat([before.rows, kept[: max(0, most_rows - len(before.rows))]])
        found[group.name] = Channels(maxima, kept.clone())

    with _seen(model, groups, see):
        run()
    return found


def moments(
    model: nn.Module, groups: Sequence[Group], transforms: Mapping[str, Transform], run: Run
) -> dict[str, Moments]:
    """Return the moments of the transformed inputs, by the name of the observed layer (see `Group.inputs`)."""
    found: dict[str, Moments] = {}
    whole = {group.name: transforms[group.name].repeated(group.repeats) for group in groups}

    def see(group: Group, name: str, x: Tensor) -> None:
        x = whole[group.name].inputs(x)
        if name not in found:
            found[name] = Moments(torch.zeros(x.shape[1], x.shape[1], device=x.device))
        found[name].add(x)

    with _seen(model, groups, see):
        run()
    return found


def in_portions(groups: Sequence[Group], columns: Callable[[Group], int], memory_bytes: int) -> list[list[Group]]:
    """Split groups, in order, into portions whose moments fit into memory together. A portion is never empty."""
    portions: list[list[Group]] = []
    free = 0
    for group in groups:
        size = 4 * columns(group) ** 2 * len(group.inputs)
        if not portions or size > free:
            portions.append([])
            free = memory_bytes
        portions[-1].append(group)
        free -= size
    return portions


@contextlib.contextmanager
def _seen(model: nn.Module, groups: Sequence[Group], see: Callable[[Group, str, Tensor], None]) -> Generator[None]:
    """Call `see` with group, layer and input, float32[M, K], whenever the model computes a layer in `Group.inputs`."""

    def hook(group: Group, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: see(group, name, given[0].reshape(-1, given[0].shape[-1]).float())

    with contextlib.ExitStack() as hooks:
        for group in groups:
            for name in group.inputs:
                handle = model.get_submodule(name).register_forward_pre_hook(hook(group, name))
                hooks.callback(handle.remove)
        yield
