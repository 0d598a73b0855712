"""Serialized camera messages: the functions of runtime/cdr.py, which need no ROS, under the name of old."""

from vla_policy.runtime.cdr import (
    START,
    Head,
    head_of_serialized,
    pixels_of_serialized,
    stamp_of_serialized,
)

__all__ = [
    "START",
    "Head",
    "head_of_serialized",
    "pixels_of_serialized",
    "stamp_of_serialized",
]
