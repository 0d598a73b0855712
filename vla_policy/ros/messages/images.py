"""Pixels of camera messages: the functions of runtime/images.py, which need no ROS, under the name of old."""

from vla_policy.runtime.images import (
    ENCODINGS,
    MAX_COMPRESSED_BYTES,
    MAX_SIDE_PX,
    REFUSED,
    compressed_size,
    decode_compressed,
    decode_raw,
    encode_jpeg,
    require_encoding,
)

__all__ = [
    "ENCODINGS",
    "MAX_COMPRESSED_BYTES",
    "MAX_SIDE_PX",
    "REFUSED",
    "compressed_size",
    "decode_compressed",
    "decode_raw",
    "encode_jpeg",
    "require_encoding",
]
