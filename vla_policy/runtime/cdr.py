"""Serialised images (CDR): header fields and pixels, without creating a message object.

rclpy takes a millisecond to create a message of 640x480 pixels, most of the time between a camera
and a policy. CDR puts two bytes of encoding and two of options before the message; numbers of four
bytes are aligned from there on, and a string or a sequence is its length, then its bytes (a
string's with a closing zero).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vla_policy.runtime.images import decode_compressed, decode_raw
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array

START = 4  # bytes before the message
STAMP = 8


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """frame: header.frame_id. encoding: of an Image; of a CompressedImage its format."""

    frame: str
    encoding: str


def stamp_of_serialized(data: bytes, topic: str) -> int:
    """Stamp in ns of a serialized message that begins with a header, without reading the rest.

    Raises ValueError for a message too short or a stamp of zero.
    """
    if len(data) < START + STAMP:
        raise ValueError(f"{topic}: got a message of {len(data)} bytes, expected a header")
    sec, nanosec = struct.unpack_from(f"{_order(data)}iI", data, START)
    stamp_ns: int = sec * NS_PER_S + nanosec
    if not stamp_ns > 0:
        raise ValueError(
            f"{topic}: got stamp {stamp_ns} ns, expected the time of measurement (> 0)"
        )
    return stamp_ns


def head_of_serialized(data: bytes, topic: str, *, compressed: bool) -> ImageHeader:
    """Raises ValueError for a message that ends before its encoding."""
    try:
        frame, end = _string(data, START + STAMP)
        encoding, _ = _string(data, end if compressed else _aligned(end) + 8)
    except struct.error as error:
        raise _cut(data, topic) from error
    return ImageHeader(frame, encoding)


def pixels_of_serialized(data: bytes, topic: str, *, compressed: bool) -> Array:
    """uint8[h, w, 3] RGB of an Image or a CompressedImage.

    Raises ValueError for a message that ends early, and as images.decode_raw and decode_compressed do.
    """
    try:
        _, end = _string(data, START + STAMP)
        if compressed:
            form, end = _string(data, end)
            return decode_compressed(_sequence(data, end), form, where=topic)
        at, order = _aligned(end), _order(data)
        height, width = struct.unpack_from(f"{order}2I", data, at)
        encoding, end = _string(data, at + 8)
        (bigendian,) = struct.unpack_from("B", data, end)
        at = _aligned(end + 1)
        (step,) = struct.unpack_from(f"{order}I", data, at)
        pixels = _sequence(data, at + 4)
    except struct.error as error:
        raise _cut(data, topic) from error
    return decode_raw(
        pixels, encoding, height=height, width=width, step=step, bigendian=bool(bigendian), where=topic
    )  # fmt: skip


def _order(data: bytes) -> str:
    return "<" if len(data) > 1 and data[1] & 1 else ">"


def _aligned(at: int) -> int:
    return at + -at % 4


def _sequence(data: bytes, at: int) -> memoryview:
    """The bytes of a sequence whose length is stored at the next aligned number from at."""
    at = _aligned(at)
    (length,) = struct.unpack_from(f"{_order(data)}I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise struct.error("the sequence is longer than the message")
    return memoryview(data)[at + 4 : end]


def _string(data: bytes, at: int) -> tuple[str, int]:
    """The string at that position, and where it ends."""
    text = _sequence(data, at)
    end = _aligned(at) + 4 + len(text)
    return bytes(text).removesuffix(b"\0").decode(errors="replace"), end


def _cut(data: bytes, topic: str) -> ValueError:
    return ValueError(f"{topic}: got a message of {len(data)} bytes, expected a picture")
