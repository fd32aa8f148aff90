"""Golden values: msgpack frames of openpi's client, on msgpack 1.2.4 and NumPy 1.26.4."""

import contextlib
import json

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from pirig.errors import ProtocolError
from pirig.wire import codec
from support import golden

CASES = json.loads((golden.ROOT / "wire/msgpack_cases.json").read_text())["cases"]
WRITTEN = {
    "f32_fortran_order": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    "big_endian_f4": np.array([1, 2], dtype=">f4"),
    "i32_scalar_array_0d": np.array(7, np.int32),
    "empty_0x7_f32": np.zeros((0, 7), np.float32),
    "unicode_array": np.array(["ab", "c"]),
    "datetime64": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "np_float32": np.float32(1.5),
    "np_float64": np.float64(0.1),
    "np_int64": np.int64(-5),
    "np_bool": np.bool_(True),
    "np_str": np.str_("hi"),
    "py_tuple": (1, 2),
    "py_str_unicode": "é中",
}
OBSERVATION = (golden.ROOT / "wire/libero_observation_small.msgpack").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_a_golden_frame_is_read_as_openpi_reads_it(name):
    value = codec.unpack(bytes.fromhex(CASES[name]["hex"]))
    with np.printoptions(legacy="1.25"):
        assert repr(value)[:200] == CASES[name]["repr_out"], "golden texts end after 200 characters"
    assert type(value).__name__ == CASES[name]["type_out"].replace("bool_", np.bool_.__name__)
    if isinstance(value, np.ndarray):
        assert value.flags.writeable == CASES[name]["writeable_out"]


@pytest.mark.parametrize("name", CASES)
def test_a_golden_frame_is_written_byte_for_byte(name):
    frame = bytes.fromhex(CASES[name]["hex"])
    assert codec.pack(codec.unpack(frame)) == frame
    assert codec.pack(WRITTEN.get(name, codec.unpack(frame))) == frame


def test_a_golden_observation_reads_as_it_should():
    observation = codec.unpack(OBSERVATION)
    assert codec.pack(observation) == OBSERVATION
    image = observation["observation/image"]
    assert image.dtype == np.uint8
    assert not image.flags.writeable
    assert image.ravel()[:4].tolist() == [0, 1, 2, 3]


def test_views_travel_in_c_order():
    strided = np.arange(24, dtype=np.float32).reshape(2, 3, 4)[:, ::2, ::-1]
    assert np.array_equal(codec.unpack(codec.pack(strided)), strided)
    assert codec.pack(np.asfortranarray(strided)) == codec.pack(np.ascontiguousarray(strided))


ARRAYS = stn.arrays(
    st.one_of(
        stn.boolean_dtypes(), stn.integer_dtypes(), stn.floating_dtypes(sizes=(16, 32, 64)), stn.unicode_string_dtypes()
    ),
    stn.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=5),
)
PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
VALUES = st.recursive(PLAIN | ARRAYS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(VALUES)
def test_what_is_packed_comes_back_bit_for_bit(value):
    np.testing.assert_equal(codec.unpack(codec.pack(value)), value)
    assert codec.pack(codec.unpack(codec.pack(value))) == codec.pack(value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1j]),
        np.complex64(1),
        np.array([object()]),
        np.zeros(1, [("a", "i4")]),
        np.longdouble(1),
        {1, 2},
        object(),
    ],
    ids=["complex", "complex scalar", "object", "record", "longdouble", "set", "anything"],
)
def test_what_has_no_place_on_the_wire_is_refused(value):
    with pytest.raises(TypeError, match="cannot be sent"):
        codec.pack({"x": value})


def package_frame(array):
    """As PyPI's msgpack-numpy writes it."""
    if isinstance(array, np.ndarray):
        kind = b"O" if array.dtype.kind == "O" else b""
        data = array.dumps() if kind else array.tobytes()
        fields = {b"nd": True, b"type": array.dtype.str, b"kind": kind, b"shape": array.shape, b"data": data}
    else:
        fields = {b"nd": False, b"type": array.dtype.str, b"data": array.data.tobytes()}
    return msgpack.packb({"x": fields})


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.zeros((0, 7), np.uint8), np.float32(1.5), np.bool_(True)]
)
def test_frames_of_the_msgpack_numpy_package_are_read(array):
    found = codec.unpack(package_frame(array))["x"]
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype


def test_pickled_objects_are_never_loaded():
    with pytest.raises(ProtocolError, match="pickled"):
        codec.unpack(package_frame(np.array([{"a": 1}], dtype=object)))


def array_frame(**change):
    fields = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f8", b"shape": [1]}
    return msgpack.packb(fields | {key.encode(): value for key, value in change.items()})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "cannot read"),
        (OBSERVATION[:-3], "cannot read"),
        (OBSERVATION + b"\xc0", "cannot read"),
        (b"\xc1", "cannot read a frame of 1 bytes: FormatError"),
        (array_frame(dtype="|O"), "not accepted"),
        (array_frame(dtype="<c16"), "not accepted"),
        (array_frame(dtype="nonsense"), "not accepted"),
        (array_frame(dtype="f3"), "cannot read"),
        (array_frame(dtype="i4,("), "not accepted"),
        (array_frame(dtype=None), "not accepted"),
        (array_frame(shape=None), "list of lengths"),
        (array_frame(data="text"), "needs 8 bytes; the frame has str"),
        (array_frame(shape=[2]), "needs 16 bytes; the frame has 8"),
        (array_frame(shape=[-1]), "list of lengths"),
        (msgpack.packb({b"__ndarray__": True}), "cannot read"),
        (msgpack.packb({b"__npgeneric__": True, b"dtype": "<f4", b"data": [1, 2]}), "one value; found list"),
        (msgpack.packb({b"__npgeneric__": True, b"dtype": "|u1", b"data": 300}), "cannot read"),
        (msgpack.packb({b"nd": False, b"type": "<f4", b"data": b"\0" * 8}), "needs 4 bytes; the frame has 8"),
        (b"\x91" * 10_000 + b"\xc0", "cannot read"),
    ],
)
def test_a_broken_frame_is_a_protocol_error(frame, message):
    with pytest.raises(ProtocolError, match=message):
        codec.unpack(frame)


KEYS = (b"__ndarray__", b"__npgeneric__", b"nd", b"data", b"dtype", b"type", b"kind", b"shape")
DTYPES = st.sampled_from(["<f8", "|u1", "<U0", "<U2147483647", "(2,)f4", "i4,(", "f4,,", "O", "m8", "M8[ns]", "<f16"])
JUNK = PLAIN | DTYPES | st.lists(PLAIN, max_size=3)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JUNK)),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255))),
)
def test_whatever_comes_in_is_a_value_or_a_protocol_error(fields, flips):
    frame = bytearray(msgpack.packb(fields))
    for place, byte in flips:
        frame[place % len(frame)] = byte
    with contextlib.suppress(ProtocolError):
        codec.unpack(bytes(frame))


def test_an_oversized_frame_is_refused_before_it_is_read():
    with pytest.raises(ProtocolError, match="over the limit of 100"):
        codec.unpack(OBSERVATION, max_bytes=100)


def nested(depth, length):
    """Lists in lists, each of which says that it is long."""
    return (b"\xdd" + length.to_bytes(4, "big")) * depth


@pytest.mark.parametrize(
    "frame",
    [
        nested(500, 1 << 22) + bytes(1 << 22),
        (b"\xdc\xff\xff" + b"\x90" * 0xFFFF) * 8,
        b"\x98" + (b"\xdc\xff\xff" + b"\x90" * 0xFFFF) * 8,
        msgpack.packb({str(i): {} for i in range(70_000)}),
    ],
    ids=["long lists announced in each other", "several values", "many empty lists", "a long map"],
)
def test_a_frame_cannot_take_much_more_memory_than_it_has_bytes(frame):
    with pytest.raises(ProtocolError):
        codec.unpack(frame)
