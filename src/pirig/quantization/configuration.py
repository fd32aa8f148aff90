"""Define what is quantized and how. Together with checkpoint and observations, this determines every byte of a pack.

    rtn            each weight is rounded to the nearest code, without a transform
    duquant        smoothing, zigzag permutation, one Hadamard block rotation; GPTQ
    duquant-paper  smoothing, greedy rotation, zigzag permutation, greedy rotation (Lin et al., arXiv 2406.01721)

All methods search for the clipping scale with the least error.
"""

import dataclasses
import hashlib
import json
import re
from typing import Any, Literal

from pirig.errors import ConfigError

Method = Literal["duquant", "duquant-paper", "rtn"]
METHODS: tuple[Method, ...] = ("duquant", "duquant-paper", "rtn")
WEIGHT_BITS = range(2, 9)
ACTIVATION_BITS = (4, 8)
PACK_VERSION = 2
FLOAT = 16  # number of bits that means "not quantized"


@dataclasses.dataclass(frozen=True, slots=True)
class QuantConfig:
    method: Method = "duquant"
    weight_bits: int = 4  # one of WEIGHT_BITS
    activation_bits: int = 8  # one of ACTIVATION_BITS, or FLOAT
    bits_of: tuple[tuple[str, int], ...] = ()  # (name, weight bits or FLOAT) of layers whose name is or ends with name
    scope: str = ""  # quantize only layers whose name begins with this
    include: str = ""  # quantize only layers whose name matches this pattern somewhere
    exclude: str = ""  # do not quantize layers whose name matches this pattern somewhere
    layers: tuple[str, ...] = ()  # quantize exactly these layers
    block: int = 128  # largest number of channels that are rotated together, a power of two
    permute: bool = True  # apply the zigzag permutation
    smoothing: float = 0.5  # exponent α of the activations; 0: none
    percentile: float = 100.0  # percentile of a channel's activations that counts as its maximum
    group: int = 0  # number of columns that share a weight scale; 0: all columns of an output channel
    samples: int = 32  # number of calibration observations
    seed: int = 0  # of rotations and observations

    def __post_init__(self) -> None:
        _one_of("the quantization method", self.method, METHODS)
        _one_of("weight bits", self.weight_bits, (*WEIGHT_BITS, FLOAT))
        _one_of("activation bits", self.activation_bits, (*ACTIVATION_BITS, FLOAT))
        for name, bits in self.bits_of:
            _one_of(f"weight bits of {name}", bits, (*WEIGHT_BITS, FLOAT))
        for name, pattern in (("include", self.include), ("exclude", self.exclude)):
            try:
                re.compile(pattern)
            except re.error as e:
                raise ConfigError(
                    f"{name}={pattern!r} is no regular expression: {e}; expected one such as q_proj|k_proj"
                ) from e
        _within("block", self.block, 1, 1 << 14)
        if self.block & (self.block - 1):
            raise ConfigError(f"a rotation block has {self.block} channels; expected a power of two, such as 128")
        _within("smoothing", self.smoothing, 0.0, 1.0)
        _within("percentile", self.percentile, 50.0, 100.0)
        _within("group", self.group, 0, 1 << 14)
        _within("calibration samples", self.samples, 1, 1 << 20)
        _within("seed", self.seed, 0, 2**32 - 1)

    @property
    def calibrates(self) -> bool:
        """Whether the pack depends on calibration observations."""
        return self.method != "rtn"

    @property
    def name(self) -> str:
        """The short name, e.g. w4a8."""
        return f"w{self.weight_bits}a{self.activation_bits}"

    def document(self) -> dict[str, Any]:
        """Return the configuration as plain values.

        Fields that this method does not use are omitted, so that their values make no difference.
        """
        values = dataclasses.asdict(self)
        unused = () if self.calibrates else ("block", "permute", "smoothing", "percentile", "samples", "seed")
        return json.loads(json.dumps({name: value for name, value in values.items() if name not in unused}))

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()


def pack_name(recipe: str, checkpoint: str, dtype: str, configuration: QuantConfig, source: str) -> str:
    """Name a pack's file by everything that determines its content.

    `checkpoint` is the checkpoint's fingerprint, `source` the source of the calibration observations.
    """
    told = [PACK_VERSION, recipe, checkpoint, dtype, configuration.document(), configuration.calibrates and source]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return f"{recipe}-{configuration.name}-{configuration.method}-{digest[:16]}.safetensors"


def parse(name: str) -> tuple[int, int]:
    """Return the weight and activation bits of a name such as `w4a8`. With a0 or a16, activations are not quantized.

    Raises ConfigError for any other name.
    """
    match = re.fullmatch(r"w(\d+)a(\d+)", name.lower())
    if not match:
        raise ConfigError(f"quantization {name!r} is not known; expected w4a8, w8a8, w4a16, …, or the file of a pack")
    weight_bits, activation_bits = int(match[1]), int(match[2]) or FLOAT
    _one_of(f"weight bits of {name}", weight_bits, WEIGHT_BITS)
    _one_of(f"activation bits of {name}", activation_bits, (*ACTIVATION_BITS, FLOAT))
    return weight_bits, activation_bits


def _one_of(what: str, found: object, allowed: tuple | range) -> None:
    if found not in allowed:
        raise ConfigError(f"{what}: {found!r}; expected one of {', '.join(map(str, allowed))}")


def _within(what: str, found: float, low: float, high: float) -> None:
    if not low <= found <= high:
        raise ConfigError(f"{what} is {found:.12g}; expected {low:.12g} to {high:.12g}")
