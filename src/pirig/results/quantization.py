"""Read what a run's policy reported about its quantization in its metadata.

`quantization.apply.report` writes that report.

Law: The report is evidence, not intent. It was counted in the model that answered, and a policy that reports nothing
provides no evidence.
"""

import collections
import dataclasses
import re
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Quantization:
    name: str  # e.g. w4a8
    method: str
    layers: Mapping[str, int]  # expected, matched, replaced
    weight_bits: Mapping[str, int]  # number of layers by bits
    activation_bits: int
    bytes_before: int
    bytes_after: int
    kernel: str
    pack: str  # digest of the pack's tensors
    configuration: Mapping[str, Any]
    calibration: Mapping[str, Any]  # empty if the policy was not calibrated
    mean_error: float  # mean over layers of the squared output error due to weight rounding, relative to the output
    errors: Mapping[str, float]  # this error by layer

    @property
    def worst(self) -> list[tuple[str, float]]:
        """Return the layers with their errors, the largest error first."""
        return sorted(self.errors.items(), key=lambda pair: (-pair[1], pair[0]))

    @property
    def by_kind(self) -> dict[str, list[float]]:
        """Return the errors by kind of layer, the kind with the largest mean first.

        Layers are of the same kind if their names differ only in their number. The keys are short names.
        """
        parts = [re.split(r"\b\d+\.", name, maxsplit=1) for name in self.errors]
        owners = {part[0]: part[0].split(".") for part in parts}
        different = (i for i, words in enumerate(zip(*owners.values(), strict=False)) if len(set(words)) > 1)
        at = next(different, None)  # index of the word in which the names differ
        found = collections.defaultdict(list)
        for part, error in zip(parts, self.errors.values(), strict=True):
            apart = "" if at is None else f"{owners[part[0]][at]} "
            found[apart + part[-1].rpartition(".")[2]].append(error)
        return dict(sorted(found.items(), key=lambda pair: -sum(pair[1]) / len(pair[1])))

    @property
    def in_words(self) -> str:
        """Return a description in one line."""
        before, after = self.bytes_before, self.bytes_after
        count = self.calibration.get("samples")
        return (
            f"{self.name} ({self.method}), {self.layers['replaced']} of {self.layers['expected']} layers, "
            f"{size(before)} of weights in {size(after)}, kernel {self.kernel}, "
            + (f"calibrated on {count} observations, " if count else "not calibrated, ")
            + f"mean relative squared error of a layer {self.mean_error:.3g}"
        )


def of_run(configuration: Mapping[str, Any]) -> Quantization | None:
    """Return the quantization that the policy of a run reported.

    `configuration`: the run's. Returns None if the policy reported nothing, or nothing in this form (a third-party
    server).
    """
    said: Any = (configuration.get("policy_metadata") or {}).get("quantization")
    try:
        return Quantization(
            name=said["name"],
            method=said["method"],
            layers={key: int(said["layers"][key]) for key in ("expected", "matched", "replaced")},
            weight_bits=dict(said["weight_bits"]),
            activation_bits=int(said["activation_bits"]),
            bytes_before=int(said["bytes"]["before"]),
            bytes_after=int(said["bytes"]["after"]),
            kernel=said["kernel"],
            pack=said["pack"],
            configuration=dict(said["configuration"]),
            calibration=dict(said["calibration"]),
            mean_error=float(said["error"]["mean"]),
            errors={name: float(error) for name, error in said["error"]["by_layer"].items()},
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def as_json(found: Quantization) -> dict[str, Any]:
    """Return the quantization as docs/schema/report-1.json describes it."""
    return dataclasses.asdict(found)


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Describe how the policies of two runs differ in quantization; return an empty string if they do not.

    `a` and `b`: configurations of the runs.
    """
    sides = [of_run(side) for side in (a, b)]
    if len({side.pack if side else "" for side in sides}) == 1:
        return ""
    said = [side.in_words if side else "not quantized" for side in sides]
    contents = {(side.get("policy_metadata") or {}).get("checkpoint") for side in (a, b)}
    where = (
        "of the same checkpoint" if len(contents) == 1 and None not in contents else "and the checkpoints differ too"
    )
    return f"the policies differ by quantization, {where}. A: {said[0]}. B: {said[1]}"


def size(count: float) -> str:
    """Return a number of bytes as text, e.g. `2.6 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
