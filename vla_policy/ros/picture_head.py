"""The beginning of a serialized picture, without reading its pixels.

CDR puts two bytes of encoding and two of options before the message; numbers of four bytes are aligned
from there on, and a string is its length with its closing zero, then its bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

START = 4  # bytes before the message
SIZE = 8  # height and width


@dataclass(frozen=True, slots=True)
class Head:
    """frame: header.frame_id. encoding: of an Image; of a CompressedImage its format."""

    frame: str
    encoding: str


def head_of_serialized(data: bytes, topic: str, *, compressed: bool) -> Head:
    """Raises ValueError for a message that ends before its encoding."""
    order = "<" if len(data) > 1 and data[1] & 1 else ">"
    try:
        frame, end = _string(data, START + 8, order)
        encoding, _ = _string(data, end if compressed else end + SIZE, order)
    except struct.error as error:
        raise ValueError(
            f"{topic}: got a message of {len(data)} bytes, expected a picture"
        ) from error
    return Head(frame, encoding)


def _string(data: bytes, at: int, order: str) -> tuple[str, int]:
    """The string there, and where the next number of four bytes is."""
    (length,) = struct.unpack_from(f"{order}I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise struct.error("the string is longer than the message")
    text = bytes(data[at + 4 : end]).rstrip(b"\0").decode(errors="replace")
    return text, end + -end % 4
