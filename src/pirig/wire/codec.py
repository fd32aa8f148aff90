"""Values to bytes and back: msgpack with NumPy arrays, in openpi's layout. No pickle, ever.

Law 1: byte-equal to openpi's client. Law 2: what comes in can only become plain values and arrays of plain numbers or
text; arrays of objects, records and complex numbers are refused both ways. Law 3: frames of the `msgpack-numpy`
package (other keys, pickled objects) are read too, but for its objects; they are never written. Law 4: bytes that are
no frame raise ProtocolError, whatever they are. Law 5: what a frame becomes takes memory in proportion to its bytes:
msgpack would make a list of 56 bytes of each byte, and set aside what a list says it will hold.
"""

import math
import re
from typing import Any

import msgpack
import numpy as np

from pirig.errors import ProtocolError

MAX_BYTES = 32 * 1024 * 1024
"""Default limit of a frame: a hundred times a LIBERO observation."""

_MOST_IN_ONE = 1 << 16  # elements of a list or map
_MOST_VALUES = 1 << 18  # elements of all of them; numbers in numbers travel as arrays, which are one value

_KINDS = "biufmMSU"  # bool, integers, floats, times, text; openpi refuses records, objects and complex numbers

_DTYPE = re.compile(r"[<>=|]?([biufSU?]\d{0,9}|[mM]8(\[\w+\])?|bool|u?int\d+|float\d+)")
"""Names that may reach `np.dtype`, which would parse, and partly evaluate, much more than a name."""


def pack(value: Any) -> bytes:
    """Raises TypeError for what has no place on the wire, naming it."""
    return msgpack.packb(value, default=_encode)


def unpack(frame: bytes | memoryview, *, max_bytes: int = MAX_BYTES) -> Any:
    """Arrays come back read-only, as views of what was copied out of `frame`.

    Raises ProtocolError for anything that is not a whole frame.
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
    """In C order. Images are packed from where they stand; a buffer has no times and no text."""
    if array.ndim and array.flags.c_contiguous and array.dtype.kind in "biuf":
        return array.data
    return array.tobytes()


class _Count:
    """Law 5, for one frame."""

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
    """The layout of PyPI's `msgpack-numpy`: `kind` is O for a pickle, V for a record; else `type` is the dtype."""
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
    with np.errstate(all="ignore"):  # a number that is too large for its type is infinite, as it was where it is from
        return dtype.type(data)


def _dtype(name: Any) -> np.dtype:
    name = name.decode() if isinstance(name, bytes) else name
    if not isinstance(name, str) or not _DTYPE.fullmatch(name) or not _plain(dtype := np.dtype(name)):
        raise ProtocolError(f"dtype {name!r:.80} is not accepted; send bool, int, float or text")
    return dtype


def _plain(dtype: np.dtype) -> bool:
    """Not `longdouble` either: its bytes mean something else on another machine."""
    return dtype.kind in _KINDS and dtype.char != "g"
