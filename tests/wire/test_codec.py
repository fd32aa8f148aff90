"""Golden values: msgpack frames of openpi's client, on msgpack 1.2.4 and NumPy 1.26.4."""

import json

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

import golden
from pirig.errors import ProtocolError
from pirig.wire import codec

CASES = {
    name: bytes.fromhex(case["hex"])
    for name, case in json.loads((golden.ROOT / "wire/msgpack_cases.json").read_text())["cases"].items()
}
OBSERVATION = (golden.ROOT / "wire/libero_observation_small.msgpack").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_a_golden_frame_is_written_byte_for_byte(name):
    assert codec.pack(codec.unpack(CASES[name])) == CASES[name]


def test_a_golden_observation_reads_as_it_should():
    observation = codec.unpack(OBSERVATION)
    assert codec.pack(observation) == OBSERVATION
    image = observation["observation/image"]
    assert image.dtype == np.uint8 and not image.flags.writeable and image.ravel()[:4].tolist() == [0, 1, 2, 3]


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
    [np.array([1j]), np.complex64(1), np.array([object()]), np.zeros(1, [("a", "i4")]), {1, 2}, object()],
    ids=["complex", "complex scalar", "object", "record", "set", "anything"],
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
    assert np.array_equal(found, array) and found.dtype == array.dtype


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
        (b"\xc1", "cannot read"),
        (array_frame(dtype="|O"), "not accepted"),
        (array_frame(dtype="<c16"), "not accepted"),
        (array_frame(dtype="nonsense"), "cannot read"),
        (array_frame(shape=[2]), "needs 16 bytes; the frame has 8"),
        (array_frame(shape=[-1]), "needs -8 bytes"),
        (msgpack.packb({b"__ndarray__": True}), "cannot read"),
    ],
)
def test_a_broken_frame_is_a_protocol_error(frame, message):
    with pytest.raises(ProtocolError, match=message):
        codec.unpack(frame)


def test_an_oversized_frame_is_refused_before_it_is_read():
    with pytest.raises(ProtocolError, match="over the limit of 100"):
        codec.unpack(OBSERVATION, max_bytes=100)
