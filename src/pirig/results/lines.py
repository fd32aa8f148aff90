"""Encode one result as a line of `episodes.jsonl`: exact JSON with a checksum.

The checksum is needed because a number with a flipped bit is still a number.
"""

import base64
import dataclasses
import json
import typing
import zlib
from typing import Any

import numpy as np

from pirig.types import EpisodeResult, EpisodeSpec, Status, Timings

_CHECK = b', "crc32": '
_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float)}
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error)
"""Exceptions that `read` raises for a line that is not a valid result."""
_T = typing.TypeVar("_T")


def line(result: EpisodeResult) -> bytes:
    """Return the result as a line whose last key is a checksum of everything before it."""
    text = json.dumps(_to_json(result)).encode()[:-1]
    return text + _CHECK + b'"%08x"}\n' % zlib.crc32(text)


def read(text: bytes) -> EpisodeResult:
    """Parse a line, given without its newline."""
    return _from_json(json.loads(_checked(text)))


def _checked(line: bytes) -> bytes:
    """Return the line without its checksum.

    Lines of older versions have no checksum. Raises ValueError if the checksum is wrong.
    """
    text, check, said = line.rpartition(_CHECK)
    if not check:
        return line
    if said != b'"%08x"}' % zlib.crc32(text):
        raise ValueError(f"its checksum is {zlib.crc32(text):08x}, and it says {said.decode(errors='replace')[:10]}")
    return text + b"}"


def _to_json(result: EpisodeResult) -> dict[str, Any]:
    row = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    row["spec"], row["timings"] = dataclasses.asdict(result.spec), dataclasses.asdict(result.timings)
    trail = base64.b64encode(result.trail.astype("<u4").tobytes()).decode()
    return row | {"actions": _pack(result.actions), "trail": trail}


def _from_json(row: dict[str, Any]) -> EpisodeResult:
    spec, timings = _typed(EpisodeSpec, row["spec"]), _typed(Timings, row["timings"])
    actions = _unpack(row["actions"])
    trail = np.frombuffer(base64.b64decode(row["trail"], validate=True), "<u4")
    values: dict[str, Any] = {**row, "spec": spec, "timings": timings, "actions": actions, "trail": trail}
    return _typed(EpisodeResult, values)


def _typed(kind: type[_T], values: dict[str, Any]) -> _T:
    """Build a dataclass from the values of a line.

    Raises ValueError for a value that its field cannot have.
    """
    for field in dataclasses.fields(kind):  # ty: ignore[invalid-argument-type]
        value = values.get(field.name, 0.0)
        allowed = _PLAIN.get(field.type)
        if field.type is Status and value not in typing.get_args(Status):
            raise ValueError(f"{field.name} is {value!r:.80}; expected one of {', '.join(typing.get_args(Status))}")
        if allowed and (not isinstance(value, allowed) or isinstance(value, bool) or _is_absurd(value)):
            raise ValueError(f"{field.name} is {value!r:.80}; expected {' or '.join(t.__name__ for t in allowed)}")
    return kind(**values)


def _is_absurd(value: Any) -> bool:
    return not isinstance(value, str) and not -(2**63) < value < 2**63


def _pack(actions: np.ndarray) -> dict[str, Any]:
    """Encode actions exactly.

    Bytes of equal significance are stored together, because floats compress well only in that order.
    """
    planes = np.ascontiguousarray(actions, "<f8").view(np.uint8).reshape(-1, 8).T.tobytes()
    return {"shape": list(actions.shape), "data": base64.b64encode(zlib.compress(planes, 9)).decode()}


def _unpack(packed: dict[str, Any]) -> np.ndarray:
    steps, size = packed["shape"]
    decompressor, expected = zlib.decompressobj(), 8 * steps * size
    data = decompressor.decompress(base64.b64decode(packed["data"], validate=True), expected + 1)
    if len(data) != expected or not decompressor.eof:
        raise ValueError(f"the actions {packed['shape']} need {expected} bytes; the line has others")
    planes = np.frombuffer(data, np.uint8).reshape(8, -1)
    return np.ascontiguousarray(planes.T).view("<f8").reshape(steps, size)
