"""From one rotation to another: unit quaternions xyzw, turns along base axes."""

from __future__ import annotations

import math

import numpy as np

from vla_policy.transforms import (
    quaternion_multiply,
    quaternion_to_rotvec,
    rotvec_to_quaternion,
)
from vla_policy.types import Array

CONJUGATE = np.array([-1.0, -1.0, -1.0, 1.0])
NEARLY_EQUAL = 1e-6  # rad; below it slerp's quotient of sines loses its digits, a line is exact


def slerp(start: Array, end: Array, fraction: float) -> Array:
    """On the shorter arc from one rotation to another; unit float64[4] xyzw.

    start, end: float64[4], not zero; q and -q are the same rotation. fraction: 0 start, 1 end.
    """
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    cosine = float(a @ b)
    if cosine < 0.0:  # the other hemisphere: the long way round
        b, cosine = -b, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < NEARLY_EQUAL:
        mixed = (1.0 - fraction) * a + fraction * b
    else:
        mixed = math.sin((1.0 - fraction) * angle) * a + math.sin(fraction * angle) * b
    return mixed / np.linalg.norm(mixed)


def turn_between(start: Array, end: Array) -> Array:
    """Rotation vector in rad, base axes, of the shorter turn from start to end; float64[3]."""
    return quaternion_to_rotvec(quaternion_multiply(end, start * CONJUGATE))


def turned(rotation: Array, turn: Array) -> Array:
    """rotation turned by a rotation vector along base axes; unit float64[..., 4] xyzw."""
    q = quaternion_multiply(rotvec_to_quaternion(turn), rotation)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)
