"""Steps between robot units and what a model sees, each with its inverse. Pure functions of arrays."""

from __future__ import annotations

import numpy as np

from .types import Array

TINY = 1e-12
NEXT, LAST = np.array([1, 2, 0]), np.array([2, 0, 1])


def cross(a: Array, b: Array) -> Array:
    """Cross product of float64[..., 3], for the few vectors of a command: np.cross takes eight times as long."""
    return a.take(NEXT, -1) * b.take(LAST, -1) - a.take(LAST, -1) * b.take(NEXT, -1)


def length(vectors: Array) -> Array:
    """Norm of float64[..., n], kept as float64[..., 1]; np.linalg.norm takes twice as long for one."""
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
    """Inverse of rotvec_to_quaternion, of the turn of at most pi. Raises ValueError for a zero quaternion."""
    norm = length(quaternion)
    if not (norm > 1e-9).all():
        raise ValueError("quaternion: got length 0, expected 1")
    q = quaternion / norm
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = length(q[..., :3])
    angle = 2 * np.arctan2(sine, q[..., 3:])
    return q[..., :3] * np.where(sine > TINY, angle / np.maximum(sine, TINY), 2.0)


def steps_to_poses(start: Array, steps: Array) -> Array:
    """Steps of a tool pose, each from the one before, to poses in the base frame.

    start: float64[7] xyz and quaternion xyzw at the observation. steps: float64[t, 6] dx dy dz in m and
    rotation vector in rad, both along base axes. Returns float64[t, 7].
    """
    positions = start[:3] + np.cumsum(steps[:, :3], axis=0)
    quaternions, q = np.empty((len(steps), 4)), start[3:]
    for i, turn in enumerate(rotvec_to_quaternion(steps[:, 3:])):
        q = quaternion_multiply(turn, q)
        q = q / np.linalg.norm(q)
        quaternions[i] = q
    return np.concatenate((positions, quaternions), axis=1)


def poses_to_steps(start: Array, poses: Array) -> Array:
    """Inverse of steps_to_poses: float64[t, 7] to float64[t, 6]."""
    before = np.concatenate((start[None], poses[:-1]))
    inverse = before[:, 3:] * np.array([-1.0, -1.0, -1.0, 1.0])
    turns = quaternion_to_rotvec(quaternion_multiply(poses[:, 3:], inverse))
    return np.concatenate((poses[:, :3] - before[:, :3], turns), axis=1)


def driven(speeds: Array, step_s: float) -> Array:
    """Where a base that drives ahead and turns is after each row, seen from where it began.

    speeds: float[..., t, 2] m/s ahead and rad/s to the left, each for step_s. Returns float[..., t + 1, 3]
    x, y in m and the turn in rad; row 0 is the beginning.
    """
    ahead, turn = speeds[..., 0] * step_s, speeds[..., 1] * step_s
    way = np.stack((ahead * np.cos(_middle(turn)), ahead * np.sin(_middle(turn)), turn), -1)
    return np.concatenate((np.zeros_like(way[..., :1, :]), np.cumsum(way, axis=-2)), axis=-2)


def _middle(turn: Array) -> Array:
    """The direction half way through each row."""
    return np.cumsum(turn, axis=-1) - turn / 2


def canonical_state(state: Array) -> Array:
    """The same state with one of the two quaternions of its rotation: the largest component is positive.

    state: float[n, 8] x y z qx qy qz qw gripper.
    """
    q = state[..., 3:7]
    largest = np.take_along_axis(q, np.abs(q).argmax(-1, keepdims=True), -1)
    return np.concatenate(
        (state[..., :3], q * np.where(largest < 0, -1.0, 1.0), state[..., 7:]), -1
    )
