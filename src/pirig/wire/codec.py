"""Encode values as bytes and decode them: msgpack with NumPy arrays, in openpi's layout. Pickle is never used.

Law 1: The encoded bytes equal those of openpi's client.
Law 2: A frame can only become plain values and arrays of plain numbers or text. Arrays of objects, records and complex
numbers are refused in both directions.
Law 3: Frames of the `msgpack-numpy` package, which has other keys and pickles objects, are also read, except for the
pickled objects. They are never written.
Law 4: Any bytes that are not a frame raise ProtocolError.
Law 5: A decoded frame uses memory in proportion to its size. Without limits, msgpack would make a list of 56 bytes from
a single byte, and allocate the length that a list declares.
"""

import math
import re
from typing import Any

import msgpack
import numpy as np

from pirig.errors import ProtocolError

MAX_BYTES = 32 * 1024 * 1024
"""Default size limit of a frame [bytes]: a hundred times a LIBERO observation."""

_MOST_IN_ONE = 1 << 16  # largest number of elements in one list or map
_MOST_VALUES = 1 << 18  # largest number of elements in all of them together; an array counts as one value

_KINDS = "biufmMSU"  # bool, integers, floats, times, text; openpi refuses records, objects and complex numbers

_DTYPE = re.compile(r"[<>=|]?([biufSU?]\d{0,9}|[mM]8(\[\w+\])?|bool|u?int\d+|float\d+)")
"""Matches the names that may be passed to `np.dtype`, which would parse, and partly evaluate, much more than names."""


def pack(value: Any) -> bytes:
    """Encode a value as a frame. Raises TypeError, which names the type, for a value that cannot be sent."""
    return msgpack.packb(value, default=_encode)


def unpack(frame: bytes | memoryview, *, max_bytes: int = MAX_BYTES) -> Any:
    """Decode a frame. Arrays are read-only views of bytes that were copied from `frame`.

    Raises ProtocolError for anything that is not a complete frame.
    """
    if len(frame) > max_bytes:
        raise ProtocolError(f"a frame of {len(frame)} bytes is over the limit of {max_bytes} (--max-frame-mib)")
    try:
        count = _Count()
        return msgpack.unpackb(
            frame,
            object_hook=count.of_map,
            list_hook=count.of_list,
            max_array_len=_MOST_IN_ONE,
            max_map_len=_MOST_IN_ONE,
        )
    except ProtocolError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, msgpack.UnpackException) as e:
        raise ProtocolError(f"cannot read a frame of {len(frame)} bytes: {str(e) or type(e).__name__}") from e


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and not _plain(value.dtype):
        raise TypeError(f"dtype {value.dtype} cannot be sent; send bool, int, float or text")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": _bytes(value), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent; send dicts, lists, text, numbers or NumPy arrays")


def _bytes(array: np.ndarray) -> bytes | memoryview:
    """Return the array's bytes in C order.

    Contiguous arrays of numbers, such as images, are not copied. The buffer protocol does not support times and text.
    """
    if array.ndim and array.flags.c_contiguous and array.dtype.kind in "biuf":
        return array.data
    return array.tobytes()


class _Count:
    """Count the values of one frame, and refuse too many of them (law 5)."""

    def __init__(self) -> None:
        self._values = 0

    def of_map(self, fields: dict[Any, Any]) -> Any:
        self._add(len(fields))
        return _decode(fields)

    def of_list(self, values: list[Any]) -> list[Any]:
        self._add(len(values))
        return values

    def _add(self, values: int) -> None:
        self._values += 1 + values
        if self._values > _MOST_VALUES:
            raise ProtocolError(f"a frame holds more than {_MOST_VALUES} values in lists and maps; send arrays")


def _decode(fields: dict[Any, Any]) -> Any:
    if b"__ndarray__" in fields:
        return _array(fields[b"data"], _dtype(fields[b"dtype"]), fields[b"shape"])
    if b"__npgeneric__" in fields:
        return _scalar(fields[b"data"], _dtype(fields[b"dtype"]))
    if b"nd" in fields:
        return _from_package(fields)
    return fields


def _from_package(fields: dict[Any, Any]) -> Any:
    """Decode an array or scalar in the layout of PyPI's `msgpack-numpy`.

    `kind` is O for a pickle and V for a record. Otherwise `type` is the dtype.
    """
    if fields.get(b"kind", b"") not in (b"", ""):
        raise ProtocolError("a frame holds a pickled or structured msgpack-numpy array; send plain numeric arrays")
    shape = fields[b"shape"] if fields[b"nd"] else []
    array = _array(fields[b"data"], _dtype(fields[b"type"]), shape)
    return array if fields[b"nd"] else array[()]


def _array(data: Any, dtype: np.dtype, shape: Any) -> np.ndarray:
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ProtocolError(f"an array has a list of lengths as its shape; found {shape!r:.80}")
    expected = math.prod(shape) * dtype.itemsize
    if not isinstance(data, bytes) or len(data) != expected:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise ProtocolError(f"an array of {dtype} {shape} needs {expected} bytes; the frame has {found}")
    return np.ndarray(shape, dtype, data)


def _scalar(data: Any, dtype: np.dtype) -> np.generic:
    if not isinstance(data, bool | int | float | str | bytes):
        raise ProtocolError(f"a scalar of {dtype} needs one value; found {type(data).__name__}")
    with np.errstate(all="ignore"):  # a number too large for its type becomes infinite, as it was at the sender
        return dtype.type(data)


def _dtype(name: Any) -> np.dtype:
    name = name.decode() if isinstance(name, bytes) else name
    if not isinstance(name, str) or not _DTYPE.fullmatch(name) or not _plain(dtype := np.dtype(name)):
        raise ProtocolError(f"dtype {name!r:.80} is not accepted; send bool, int, float or text")
    return dtype


def _plain(dtype: np.dtype) -> bool:
    """Return whether values of this dtype may be sent.

    `longdouble` may not, because its bytes mean something else on another machine.
    """
    return dtype.kind in _KINDS and dtype.char != "g"
