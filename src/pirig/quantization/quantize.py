"""Make the tensors of a pack from a float model: first the transforms of all groups, then the codes of each group.

All transforms come first because parts of a group's transform are folded into layers of other groups.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pirig.errors import ConfigError
from pirig.quantization import calibrate, packing, transform
from pirig.quantization.calibrate import Channels, Run
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.records import GroupRecord, LayerRecord
from pirig.quantization.rounding import Rounded, round_weights
from pirig.quantization.select import Group, folds, select
from pirig.quantization.transform import Transform

Tell = Callable[[str, int, int], None]
"""A progress callback, called with the name of the current work, the amount done and the total amount."""
MEMORY_BYTES = 6 << 30
_GREEDY_ROWS = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    tensors: dict[str, Tensor]
    layers: dict[str, LayerRecord]
    groups: dict[str, GroupRecord]


def quantize(
    model: nn.Module,
    groups: Sequence[Group],
    configuration: QuantConfig,
    run: Run,
    tell: Tell = lambda *_: None,
    memory_bytes: int = MEMORY_BYTES,
) -> Made:
    """Quantize the selected layers of a model. Raises ConfigError if the configuration does not fit the model.

    `run` runs the model on the calibration observations, as described in `calibrate`.
    """
    bits = select(groups, configuration)
    groups = [dataclasses.replace(group, layers=own) for group in groups if (own := _selected(group, bits))]
    check_shapes(model, bits, configuration)
    made = Made({}, {}, {})
    transforms = _transforms(model, groups, configuration, run)
    for group in groups:
        fold = folds(group, bits, configuration)
        made.groups[group.name] = GroupRecord(
            group.layers,
            group.repeats,
            scales_taken_over=fold is not None,
            order_taken_over=fold is not None,
            rotation_taken_over=bool(fold and fold.rotates),
        )
        stored = {name: value for name, value in transforms[group.name].tensors().items() if name != "signs"}
        made.tensors.update({f"{group.name}.{name}": value for name, value in stored.items()})
    portions = calibrate.in_portions(groups, lambda group: _linear(model, group.name).in_features, memory_bytes)
    for portion in portions if configuration.calibrates else [groups]:
        moments = calibrate.moments(model, portion, transforms, run) if configuration.calibrates else {}
        for group in portion:
            hessian = None
            for name in group.layers:
                if configuration.calibrates and name in group.inputs:
                    hessian = moments.pop(name).shrunk()
                tell(name, len(made.layers), len(bits))
                w = _taken_over(name, _linear(model, name).weight.float(), groups, transforms, bits, configuration)
                w = transforms[group.name].repeated(group.repeats).weights(w)
                rounded = round_weights(w, bits[name], hessian=hessian, group=configuration.group)
                _keep(made, name, rounded, bits[name])
    tell("", len(bits), len(bits))
    return made


def check_shapes(model: nn.Module, bits: Mapping[str, int], configuration: QuantConfig) -> None:
    """Check that groups of columns and packed bytes fit into each layer's rows. Raises ConfigError if they do not."""
    for name, own in bits.items():
        columns = _linear(model, name).in_features
        group = configuration.group if 0 < configuration.group < columns else columns
        runs = 8 // packing.width(own)
        if columns % group or group % runs:
            raise ConfigError(
                f"{name} has {columns} input channels: groups of {group} columns with {own} bits do not fit; "
                f"expected a divisor of {columns} that is a multiple of {runs}"
            )


def _selected(group: Group, bits: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name in group.layers if name in bits)


def _linear(model: nn.Module, name: str) -> nn.Linear:
    found = model.get_submodule(name)
    assert isinstance(found, nn.Linear), name
    return found


def _transforms(
    model: nn.Module, groups: Sequence[Group], configuration: QuantConfig, run: Run
) -> dict[str, Transform]:
    """Return the transform of each group, by its name. If the input has repeated parts, it is the transform of one."""
    if not configuration.calibrates:
        return {group.name: Transform() for group in groups}
    rows = _GREEDY_ROWS if configuration.method == "duquant-paper" else 0
    seen = calibrate.channels(model, groups, run, configuration.percentile, rows)
    return {group.name: _transform(model, group, seen[group.name], configuration) for group in groups}


def _transform(model: nn.Module, group: Group, seen: Channels, configuration: QuantConfig) -> Transform:
    width = len(seen.maxima)
    largest = torch.stack([_linear(model, name).weight.float().abs().amax(0) for name in group.layers]).amax(0)
    largest = largest.reshape(-1, width).amax(0)
    return transform.choose(seen.maxima, largest, seen.rows, configuration, seed=group.name)


def _taken_over(
    name: str,
    w: Tensor,
    groups: Sequence[Group],
    transforms: Mapping[str, Transform],
    bits: Mapping[str, int],
    configuration: QuantConfig,
) -> Tensor:
    """Apply to the rows of w: float32[N, K] the transforms of subsequent layers that are folded into this layer."""
    for group in groups:
        fold = folds(group, bits, configuration)
        if fold and name in fold.ordered:
            own = transforms[group.name].without(scales=name not in fold.scaled, order=False, rotation=not fold.rotates)
            w = own.inputs(w.T.contiguous()).T.contiguous()
    return w


def _keep(made: Made, name: str, rounded: Rounded, bits: int) -> None:
    parts = 1 if rounded.share is None else rounded.share.shape[1]
    codes = [packing.pack(part, bits) for part in rounded.codes.chunk(parts, dim=1)]
    made.tensors[f"{name}.codes"] = torch.stack(codes)
    made.tensors[f"{name}.scale"] = rounded.scale
    if rounded.share is not None:
        made.tensors[f"{name}.share"] = rounded.share
    rows, columns = rounded.codes.shape
    made.layers[name] = LayerRecord(bits, (rows, columns), float(f"{rounded.error:.4g}"))
