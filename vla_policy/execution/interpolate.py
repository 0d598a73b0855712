"""From one rotation to another: unit quaternions xyzw, turns along base axes."""

from __future__ import annotations

import numpy as np

from vla_policy.transforms import (
    quaternion_multiply,
    quaternion_to_rotvec,
    rotvec_to_quaternion,
)
from vla_policy.types import Array

CONJUGATE = np.array([-1.0, -1.0, -1.0, 1.0])


def turn_between(start: Array, end: Array) -> Array:
    """Rotation vector in rad, base axes, of the shorter turn from start to end; float64[3]."""
    return quaternion_to_rotvec(quaternion_multiply(end, start * CONJUGATE))


def turned(rotation: Array, turn: Array) -> Array:
    """rotation turned by a rotation vector along base axes; unit float64[..., 4] xyzw."""
    q = quaternion_multiply(rotvec_to_quaternion(turn), rotation)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)
