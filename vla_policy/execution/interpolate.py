"""Between two actions: linear in joints and position, on the sphere in rotation.

A gripper is not averaged: halfway between open and closed is a third thing, so it passes through.
"""

from __future__ import annotations

import math

import numpy as np

from vla_policy.layout import GRIPPER, POSE, Layout
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


def interpolate(start: Array, end: Array, fraction: float, layout: Layout) -> Array:
    """The action a fraction of the way from start to end; the gripper is already that of end.

    start, end: float64[d] in the order of layout.names.
    """
    values = start + fraction * (end - start)
    for part in layout.of_kind(POSE):
        rotation = part.rotation
        values[rotation] = slerp(start[rotation], end[rotation], fraction)
    for part in layout.of_kind(GRIPPER):
        values[part.columns] = end[part.columns]
    return values


def shifted(values: Array, origin: Array, wanted: Array, share: float, layout: Layout) -> Array:
    """values moved by a share of the difference from origin to wanted, but not the gripper."""
    moved = values + share * (wanted - origin)
    for part in layout.of_kind(POSE):
        rotation = part.rotation
        turn = turn_between(origin[rotation], wanted[rotation])
        moved[rotation] = turned(values[rotation], share * turn)
    for part in layout.of_kind(GRIPPER):
        moved[part.columns] = values[part.columns]
    return moved
