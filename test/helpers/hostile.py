"""Frames that a server must survive: random, truncated, nested, with wrong sizes, almost right."""

import random
import struct

import msgpack
import numpy as np

from vla_policy.remote import wire

GOOD = wire.encode(
    {
        "observation/front": np.zeros((8, 8, 3), np.uint8),
        "observation/wrist": np.zeros((8, 8, 3), np.uint8),
        "observation/state": np.zeros(3),
        "prompt": "pick",
        "vla": {"request_id": 1, "options": {"seed": 1}},
    }
)


def _random(rng):
    return rng.randbytes(rng.randrange(200))


def _cut_off(rng):
    return GOOD[: rng.randrange(len(GOOD))]


def _flipped(rng):
    data = bytearray(GOOD)
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _nested(rng):
    return rng.choice((b"\x91", b"\x81\xa1a", b"\x81\x91")) * rng.randrange(5, 20000) + b"\xc0"


def _sizes(rng):
    """A wrong length."""
    first = rng.choice((0xC6, 0xDB, 0xDD, 0xDF, 0xC9))
    return struct.pack(">BI", first, rng.randrange(2**20, 2**32)) + bytes(rng.randrange(50))


def _many(rng):
    """Small in the message, large in memory."""
    inside = rng.choice((b"\x90", b"\x80", b"\xa0", b"\x91\x90"))
    count = rng.randrange(4000, 60000)
    return struct.pack(">BI", 0xDD, count) + inside * count


def _array(rng):
    return msgpack.packb(
        {
            b"__ndarray__": True,
            b"data": rng.randbytes(rng.randrange(64)),
            b"dtype": rng.choice(("|O", "<f4", "|V8", "<U4", "<f8", "|u1", "<M8[s]", ">c8")),
            b"shape": [
                rng.choice((0, 1, 2, 3, -1, 2**31, 2**63)) for _ in range(rng.randrange(8))
            ],
        }
    )


def _almost(rng):
    """A request with one value of another kind."""
    message = dict(msgpack.unpackb(GOOD, strict_map_key=False))
    key = rng.choice(list(message))
    message[key] = rng.choice(
        (None, -1, 1e308, "x" * 3000, [], {}, [[0.0]], b"\xff\xd8\xff", {"want": "exec"})
    )
    return msgpack.packb(message)


KINDS = (_random, _cut_off, _flipped, _nested, _sizes, _many, _array, _almost)


def frames(rng: random.Random, count: int):
    """count frames, of all kinds in turn."""
    for i in range(count):
        yield KINDS[i % len(KINDS)](rng)
