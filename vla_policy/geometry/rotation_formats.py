"""Forms of rotations that policies use, each to a unit quaternion xyzw and back. Numpy only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_policy.geometry.quaternions import (
    quaternion_multiply,
    quaternion_to_rotvec,
    rotvec_to_quaternion,
)
from vla_policy.types import Array

QUATERNION_TOLERANCE = 0.05  # of the norm; a larger error is refused as no rotation
SHORT = 1e-6  # length below which a direction is undefined


def from_quaternion(values: Array) -> Array:
    """float64[t, 4] xyzw, unit length. Raises ValueError for a length not close to 1."""
    norm = np.linalg.norm(values, axis=-1, keepdims=True)
    if not (np.abs(norm - 1.0) <= QUATERNION_TOLERANCE).all():
        worst = float(norm.ravel()[np.argmax(np.abs(norm - 1.0))])
        raise ValueError(f"a quaternion has the norm {worst:.4g}, expected 1")
    unit: Array = values / norm
    return unit


def from_rpy(values: Array) -> Array:
    """float64[t, 3] rad about the fixed axes x, then y, then z (the convention of URDF and tf)."""
    roll, pitch, yaw = (rotvec_to_quaternion(_about(values, axis)) for axis in range(3))
    return quaternion_multiply(yaw, quaternion_multiply(pitch, roll))


def to_rpy(quaternions: Array) -> Array:
    """Inverse of from_rpy, float64[t, 4] to float64[t, 3], pitch from -pi/2 to pi/2; at its ends roll is 0."""
    x, y, z, w = np.moveaxis(from_quaternion(quaternions), -1, 0)
    sine = np.clip(2.0 * (w * y - z * x), -1.0, 1.0)
    level = np.abs(sine) < 1.0 - SHORT
    roll = np.arctan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    yaw = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    upright = 2.0 * np.arctan2(z, w)  # of a quaternion with roll 0
    return np.stack(
        (np.where(level, roll, 0.0), np.arcsin(sine), np.where(level, yaw, upright)), -1
    )


def from_r6d(values: Array) -> Array:
    """float64[t, 6]: first and second column of the rotation matrix, made orthonormal.

    Source: Zhou et al. 2019 (arXiv:1812.07035). Raises ValueError if the columns are short or parallel.
    """
    first = _unit(values[:, :3], "its first column is zero")
    second = values[:, 3:] - np.sum(first * values[:, 3:], axis=-1, keepdims=True) * first
    second = _unit(second, "its columns are parallel")
    matrix = np.stack((first, second, np.cross(first, second)), axis=-1)
    return np.stack([quaternion_of(m) for m in matrix])


def quaternion_of(matrix: Array) -> Array:
    """float64[4] xyzw of a rotation matrix float64[3, 3]."""
    # The largest of the four squares first: the others are divided by it (Shepperd 1978).
    m, trace = matrix, float(np.trace(matrix))
    squares = np.array([1 + 2 * m[0, 0] - trace, 1 + 2 * m[1, 1] - trace,
                        1 + 2 * m[2, 2] - trace, 1 + trace])  # fmt: skip
    q = np.empty(4)
    i = int(np.argmax(squares))
    if i == 3:
        q[:3] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q[j], q[k], q[3] = m[j, i] + m[i, j], m[k, i] + m[i, k], m[k, j] - m[j, k]
    q[i] = squares[i]
    return q / np.linalg.norm(q)


def rotate(quaternion: Array, vectors: Array) -> Array:
    """vectors float64[..., 3] rotated by float64[..., 4] xyzw."""
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    twice = 2.0 * np.cross(axis, vectors)
    return vectors + w * twice + np.cross(axis, twice)


QUATERNION: dict[str, Callable[[Array], Array]] = {
    "quaternion_xyzw": from_quaternion,
    "rpy": from_rpy,
    "rotation_vector": rotvec_to_quaternion,
    "r6d": from_r6d,
}


def to_r6d(quaternions: Array) -> Array:
    """Inverse of from_r6d, float64[t, 4] to float64[t, 6]."""
    unit = from_quaternion(quaternions)
    columns = [rotate(unit, np.broadcast_to(axis, (len(unit), 3))) for axis in np.eye(3)[:2]]
    return np.concatenate(columns, axis=-1)


WRITTEN: dict[str, Callable[[Array], Array]] = {
    "quaternion_xyzw": from_quaternion,
    "rpy": to_rpy,
    "rotation_vector": quaternion_to_rotvec,
    "r6d": to_r6d,
}


def _about(values: Array, axis: int) -> Array:
    turn = np.zeros_like(values)
    turn[..., axis] = values[..., axis]
    return turn


def _unit(vectors: Array, problem: str) -> Array:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (norm > SHORT).all():
        raise ValueError(f"a rotation in six numbers: {problem}")
    unit: Array = vectors / norm
    return unit
