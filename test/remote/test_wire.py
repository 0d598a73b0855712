"""Messages: the same on both sides and as openpi writes them, and nothing of a hostile one is made."""

import random
import struct
import tracemalloc

import msgpack
import numpy as np
import pytest
from hostile import frames

from vla_policy.remote import wire
from vla_policy.types import readonly


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8", "?", ">i2", "f2"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 3, 2)])
def test_arrays_come_back_as_they_were(dtype, shape):
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape) % 2, dtype)
    back = wire.decode(wire.encode({"a": array, "n": [array]}))
    for got in (back["a"], back["n"][0]):
        assert got.dtype == array.dtype and got.shape == array.shape and (got == array).all()
        assert not got.flags.writeable


def test_openpi_reads_what_is_written_and_writes_what_is_read():
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    value = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1], "b": {"c": [1, 2.5, "text", None, True]},
        "s": np.float32(0.25), "bytes": b"\x00\xff",
    }  # fmt: skip
    for back in (theirs.unpackb(wire.encode(value)), wire.decode(theirs.packb(value))):
        np.testing.assert_array_equal(back["a"], value["a"])
        assert {k: v for k, v in back.items() if k != "a"} == {
            k: v for k, v in value.items() if k != "a"
        }


def array(**other):
    said = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2]}
    return msgpack.packb({k.encode(): v for k, v in {**said, **other}.items() if v is not None})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut off after 0 bytes"),
        (msgpack.packb({"a": 1})[:-1], "cut off"),
        (b"\xc0\xc0", "ends at byte 1, got 2 bytes"),
        (b"\xc1", "type 0xc1 at byte 0 is refused"),
        (msgpack.packb(msgpack.ExtType(1, b"x")), "is refused"),
        (msgpack.packb(msgpack.Timestamp(1)), "is refused"),
        (b"\x91" * 50 + b"\xc0", "nested deeper than 8"),
        (b"\xdd\xff\xff\xff\xff", "expected at most 4096"),
        (b"\xdf\xff\xff\xff\xff", "expected at most 4096"),
        (b"\xc6\xff\xff\xff\xff", "cut off"),
        (b"\x91" + b"\xdc\x10\x00" + b"\x90" * 4096, "expected at most 4096"),
        (b"\xa1\xff", "not UTF-8"),
        (b"\x81\x01\x02", "a key is int, expected a text"),
        (b"\x81\x91\x01\x02", "a key is list, expected a text"),
        (b"\x82\xa1a\x01\xc4\x01a\x02", "'a' is there twice"),
        (struct.pack(">Bd", 0xCB, float("nan")), "not finite"),
        (array(dtype="|O"), "got dtype '|O'"),
        (array(dtype="V8"), "got dtype"),
        (array(dtype=None), "got dtype"),
        (array(dtype=[["a", "<f4"]]), "got dtype"),
        (array(shape=[3]), "got 8 bytes, expected 12"),
        (array(shape=[2**31, 2**31, 0]), "got 8 bytes, expected 0"),
        (array(shape=[-1]), "got shape"),
        (array(shape=[1] * 9), "got shape"),
        (array(shape=2), "got shape"),
        (array(data="text"), "got data of str"),
        (array(data=struct.pack("ff", 1.0, float("inf"))), "not finite"),
        (msgpack.packb({"__npgeneric__": True, "data": [1], "dtype": "<f4"}), "got list"),
        (msgpack.packb({"__npgeneric__": True, "data": 300, "dtype": "|u1"}), "got 300 as |u1"),
        (msgpack.packb({"__npgeneric__": True, "data": 1e300, "dtype": "<f2"}), "not finite"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused_in_a_sentence(data, words):
    with pytest.raises(ValueError) as raised:
        wire.decode(data)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_message_is_not_larger_than_it_may_be():
    with pytest.raises(ValueError, match="got 2003 bytes, expected at most 1000"):
        wire.decode(wire.encode(bytes(2000)), wire.MessageLimits(size=1000))


@pytest.mark.parametrize(
    "what", [object(), {1, 2}, 1j, np.array([object()]), np.array(["text"]), 2**70]
)
def test_what_has_no_place_in_a_message_is_not_written(what):
    with pytest.raises(ValueError, match="message: cannot be written"):
        wire.encode({"a": what})


def decoded(frame):
    """The most memory that decoding took, bytes, and the error's text or None."""
    tracemalloc.reset_peak()
    before, error = tracemalloc.get_traced_memory()[0], None
    try:
        wire.decode(frame)
    except ValueError as refused:
        error = str(refused)
    return tracemalloc.get_traced_memory()[1] - before, error


@pytest.fixture
def traced_memory():
    """Tracing slows everything down and must not outlive a test that fails."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_hostile_messages_are_refused_or_small(traced_memory):
    """Nothing but ValueError comes out, and nothing large is made on the way."""
    refused, rng = 0, random.Random(7)
    for frame in frames(rng, 600):
        most = 4 * len(frame) + 1_500_000
        took, error = decoded(frame)
        if took > most:
            # Other threads' memory is counted as well: what the frame takes, it takes again.
            took = min(decoded(frame)[0] for _ in range(3))
        assert took <= most
        if error is not None:
            refused += 1
            assert len(error) < 700
    assert 400 < refused < 600


def test_a_message_is_counted_as_it_is_read():
    rng = random.Random(3)

    def value(depth):
        kind = rng.randrange(7 if depth else 5)
        if kind == 5:
            return [value(depth - 1) for _ in range(rng.randrange(20))]
        if kind == 6:
            return {str(i): value(depth - 1) for i in range(rng.randrange(20))}
        return [None, rng.random(), rng.randrange(-(2**62), 2**62), "x" * rng.randrange(300),
                bytes(rng.randrange(70000) if rng.random() < 0.02 else 9)][kind]  # fmt: skip

    def count(v):
        inside = v if isinstance(v, list) else [*v.values(), *v] if isinstance(v, dict) else []
        return 1 + sum(count(x) for x in inside)

    for _ in range(200):
        made = value(3)
        if count(made) < 4096:
            assert wire.measure(msgpack.packb(made)) == count(made)


def test_what_is_read_from_bytes_is_not_copied_and_what_can_be_written_is():
    """Three pictures of a request are megabytes; bytes cannot be changed by anybody, so they are taken as they are."""
    data = bytes(range(12))
    read = np.frombuffer(data, np.uint8).reshape(2, 2, 3)
    assert readonly(read, np.uint8) is read
    written = np.frombuffer(bytearray(data), np.uint8).reshape(2, 2, 3)
    written.flags.writeable = False
    assert readonly(written, np.uint8) is not written
