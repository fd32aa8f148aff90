"""Values to bytes and back: msgpack with NumPy arrays, in openpi's layout. No pickle, ever.

Law 1: byte-equal to openpi's client. Law 2: what comes in can only become plain values and arrays of plain numbers or
text; arrays of objects, records and complex numbers are refused both ways. Law 3: frames of the `msgpack-numpy`
package (other keys, pickled objects) are read too, but for its objects; they are never written.
"""

import math
from typing import Any

import msgpack
import numpy as np

from pirig.errors import ProtocolError

MAX_BYTES = 256 * 1024 * 1024
"""Default limit of a frame: a thousand times a LIBERO observation."""

_REFUSED_KINDS = "VOc"  # records, objects, complex numbers: as openpi


def pack(value: Any) -> bytes:
    """Raises TypeError for what has no place on the wire, naming it."""
    return msgpack.packb(value, default=_encode)


def unpack(frame: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Arrays come back read-only, as views of `frame`. Raises ProtocolError for anything that is not a whole frame."""
    if len(frame) > max_bytes:
        raise ProtocolError(f"a frame of {len(frame)} bytes is over the limit of {max_bytes}")
    try:
        return msgpack.unpackb(frame, object_hook=_decode)
    except ProtocolError:
        raise
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as e:
        raise ProtocolError(f"cannot read a frame of {len(frame)} bytes: {e or type(e).__name__}") from e


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _REFUSED_KINDS:
        raise TypeError(f"dtype {value.dtype} cannot be sent; send bool, int, float or text")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent; send dicts, lists, text, numbers or NumPy arrays")


def _decode(fields: dict[Any, Any]) -> Any:
    if b"__ndarray__" in fields:
        return _array(fields[b"data"], _dtype(fields[b"dtype"]), fields[b"shape"])
    if b"__npgeneric__" in fields:
        return _dtype(fields[b"dtype"]).type(fields[b"data"])
    if b"nd" in fields:
        return _from_package(fields)
    return fields


def _from_package(fields: dict[Any, Any]) -> Any:
    """The layout of PyPI's `msgpack-numpy`: `kind` is O for a pickle, V for a record; else `type` is the dtype."""
    kind = fields.get(b"kind", b"")
    if kind in (b"O", b"V", "O", "V"):
        raise ProtocolError("a frame holds a pickled or structured msgpack-numpy array; send plain numeric arrays")
    dtype = _dtype(fields[b"type"])
    if fields[b"nd"]:
        return _array(fields[b"data"], dtype, fields[b"shape"])
    return np.frombuffer(fields[b"data"], dtype)[0]


def _array(data: bytes, dtype: np.dtype, shape: Any) -> np.ndarray:
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or len(data) != expected:
        raise ProtocolError(f"an array of {dtype} {list(shape)} needs {expected} bytes; the frame has {len(data)}")
    return np.ndarray(shape, dtype, data)


def _dtype(name: Any) -> np.dtype:
    dtype = np.dtype(name.decode() if isinstance(name, bytes) else name)
    if dtype.kind in _REFUSED_KINDS:
        raise ProtocolError(f"dtype {dtype} is not accepted; send bool, int, float or text")
    return dtype
