"""Install a pack into a model: replace linear layers by quantized ones, and report what the model then contains."""

import collections
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pirig.errors import ConfigError, DamagedFile
from pirig.quantization import packing
from pirig.quantization.configuration import FLOAT, QuantConfig
from pirig.quantization.kernels import Kernel, choose
from pirig.quantization.linear import Packed, QuantizedLinear
from pirig.quantization.packs import Pack
from pirig.quantization.records import GroupRecord
from pirig.quantization.transform import Transform, block_size, signs


def configuration_of(pack: Pack) -> QuantConfig:
    """Return the configuration that the pack was made with. Raises ConfigError if it is invalid."""
    document = dict(pack.header.configuration)
    try:
        document["bits_of"] = tuple((name, bits) for name, bits in document["bits_of"])
        document["layers"] = tuple(document["layers"])
        return QuantConfig(**document)
    except (TypeError, ValueError, KeyError, ConfigError) as e:
        raise DamagedFile(f"the pack {pack.file} has a damaged configuration: {e}; make it again") from e


class Installation:
    """A pack and the kernel that computes with it. Implements `policies.backend_torch.Quantized`."""

    def __init__(self, pack: Pack, kernel: str, expected: int):
        """Store the options of the installation.

        Args:
            kernel: the name of a kernel, or auto.
            expected: the number of layers that the configuration selects in the model.
        """
        self.weights = frozenset(f"{name}.weight" for name in pack.header.layers)
        self._pack, self._name, self._expected = pack, kernel, expected

    def install(self, model: nn.Module, device: torch.device) -> None:
        """Install the pack. Raises ConfigError if the kernel cannot run on the device or the pack does not fit."""
        self._kernel = choose(device, self._name)
        install(model, self._pack, self._kernel, device)

    def report(self, model: nn.Module) -> dict[str, Any]:
        return report(model, self._pack, self._kernel, self._expected)


def install(model: nn.Module, pack: Pack, kernel: Kernel, device: torch.device) -> None:
    """Replace every layer that the pack contains. The original weights need not have been loaded.

    Raises ConfigError if the model does not have such a layer, or has one of a different shape.
    """
    configuration = configuration_of(pack)
    for name, group in pack.header.groups.items():
        left = _transform(name, group, pack, configuration, device)
        for layer in group.layers:
            _replace(model, layer, left, pack, configuration, kernel, device)


def report(model: nn.Module, pack: Pack, kernel: Kernel, expected: int) -> dict[str, Any]:
    """Report what is quantized, counted in the model itself, as plain values for metadata and manifests.

    Raises ConfigError if the number of quantized layers is not the expected one.
    """
    layers = {name: own for name, own in model.named_modules() if isinstance(own, QuantizedLinear)}
    replaced = {name: own for name, own in layers.items() if name in pack.header.layers}
    if not len(replaced) == len(pack.header.layers) == expected:
        raise DamagedFile(
            f"{expected} layers were to be quantized; the pack {pack.file} has {len(pack.header.layers)}, and "
            f"{len(replaced)} of them are in the model; make the pack again with: pirig quantize"
        )
    configuration = configuration_of(pack)
    bits = collections.Counter(str(layer.bits) for layer in pack.header.layers.values())
    errors = {name: layer.error for name, layer in pack.header.layers.items()}
    floating = configuration.activation_bits == FLOAT
    return {
        "name": configuration.name,
        "method": configuration.method,
        "layers": {"expected": expected, "matched": len(pack.header.layers), "replaced": len(replaced)},
        "weight_bits": dict(sorted(bits.items())),
        "activation_bits": configuration.activation_bits,
        "bytes": {"before": _before(pack), "after": held(replaced.values())},
        "kernel": "dequantize" if floating else kernel.name,
        "configuration": dict(pack.header.configuration),
        "pack": pack.header.digest,
        "calibration": dict(pack.header.calibration),
        "error": {"mean": float(f"{sum(errors.values()) / len(errors):.4g}"), "by_layer": errors},
    }


def held(layers: Sequence[QuantizedLinear] | Any) -> int:
    """Return the size of all buffers [byte], counting each storage once."""
    storages: dict[int, int] = {}
    for layer in layers:
        for tensor in layer.buffers():
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _before(pack: Pack) -> int:
    size = torch.empty(0, dtype=getattr(torch, pack.header.dtype)).element_size()
    return sum(size * math.prod(layer.shape) for layer in pack.header.layers.values())


def _transform(
    name: str, group: GroupRecord, pack: Pack, configuration: QuantConfig, device: torch.device
) -> Transform:
    """Return the part of the group's transform that is not folded into preceding layers."""
    stored = {
        part: pack.tensors[f"{name}.{part}"].to(device)
        for part in ("smoothing", "first", "order", "second")
        if f"{name}.{part}" in pack.tensors
    }
    columns = pack.header.layers[group.layers[0]].shape[1]
    block = block_size(columns // group.repeats, configuration.block)
    if configuration.method == "duquant" and block > 1:
        stored["signs"] = signs(configuration.seed, block).to(device)
    left = Transform(**stored).without(
        scales=group.scales_taken_over, order=group.order_taken_over, rotation=group.rotation_taken_over
    )
    return left.repeated(group.repeats)


def _replace(
    model: nn.Module,
    name: str,
    transform: Transform,
    pack: Pack,
    configuration: QuantConfig,
    kernel: Kernel,
    device: torch.device,
) -> None:
    record, (owner, _, last) = pack.header.layers[name], name.rpartition(".")
    try:
        old = model.get_submodule(name)
    except AttributeError as e:
        raise DamagedFile(f"the pack {pack.file} has a layer {name}, and the model has none: {e}") from e
    if not isinstance(old, nn.Linear) or [old.out_features, old.in_features] != list(record.shape):
        raise DamagedFile(f"the pack {pack.file} has {name} as {list(record.shape)}; the model has {old}")

    def tensor(part: str) -> Tensor | None:
        found = pack.tensors.get(f"{name}.{part}")
        return None if found is None else found.to(device)

    codes, scale = tensor("codes"), tensor("scale")
    if codes is None or scale is None:
        raise DamagedFile(f"the pack {pack.file} lacks codes or scales of {name}; make it again with: pirig quantize")
    share, (rows, columns) = tensor("share"), record.shape
    count = 1 if share is None else share.shape[1]
    expected = [count, rows, packing.packed_columns(columns, record.bits) // count]
    if list(codes.shape) != expected:
        raise DamagedFile(f"the pack {pack.file} has codes of {name} as {list(codes.shape)}; expected {expected}")
    bias = None if old.bias is None else old.bias.data.float()
    packed = Packed(codes, scale, share, record.bits, columns, bias)
    new = QuantizedLinear(packed, transform, configuration.activation_bits, kernel)
    setattr(model.get_submodule(owner), last, new)
