"""Unit quaternions xyzw and rotation vectors: products, turns, interpolation. Pure functions of arrays."""

from __future__ import annotations

import numpy as np

from vla_policy.types import Array

TINY = 1e-12
NEXT, LAST = np.array([1, 2, 0]), np.array([2, 0, 1])


def cross(a: Array, b: Array) -> Array:
    """Cross product of float64[..., 3]; for few vectors eight times as fast as np.cross."""
    product: Array = a.take(NEXT, -1) * b.take(LAST, -1) - a.take(LAST, -1) * b.take(NEXT, -1)
    return product


def length(vectors: Array) -> Array:
    """Norm of float64[..., n], as float64[..., 1]; twice as fast as np.linalg.norm for one."""
    return np.sqrt(np.add.reduce(vectors * vectors, -1, keepdims=True))


def quaternion_multiply(a: Array, b: Array) -> Array:
    """Hamilton product of xyzw quaternions, float64[..., 4]: rotate by b first, then by a."""
    av, aw, bv, bw = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = aw * bv + bw * av + cross(av, bv)
    return np.concatenate((vector, aw * bw - np.sum(av * bv, axis=-1, keepdims=True)), axis=-1)


def rotvec_to_quaternion(rotvec: Array) -> Array:
    """float64[..., 3] axis times angle in rad to xyzw, float64[..., 4]."""
    angle = length(rotvec)
    # sin(x / 2) / x, whose limit at 0 is 1 / 2
    scale = np.where(angle > TINY, np.sin(angle / 2) / np.maximum(angle, TINY), 0.5)
    return np.concatenate((rotvec * scale, np.cos(angle / 2)), axis=-1)


def quaternion_to_rotvec(quaternion: Array) -> Array:
    """Inverse of rotvec_to_quaternion, angle at most pi.

    Raises ValueError for a zero quaternion.
    """
    norm = length(quaternion)
    if not (norm > 1e-9).all():
        raise ValueError("quaternion: got length 0, expected 1")
    q = quaternion / norm
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = length(q[..., :3])
    angle = 2 * np.arctan2(sine, q[..., 3:])
    turn: Array = q[..., :3] * np.where(sine > TINY, angle / np.maximum(sine, TINY), 2.0)
    return turn


CONJUGATE = np.array([-1.0, -1.0, -1.0, 1.0])


def turn_between(start: Array, end: Array) -> Array:
    """Rotation vector in rad, base axes, of the shorter rotation from start to end; float64[3]."""
    return quaternion_to_rotvec(quaternion_multiply(end, start * CONJUGATE))


def turned(rotation: Array, turn: Array) -> Array:
    """rotation rotated by a rotation vector along base axes; unit float64[..., 4] xyzw."""
    q = quaternion_multiply(rotvec_to_quaternion(turn), rotation)
    unit: Array = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return unit
