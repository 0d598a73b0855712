"""Steps between poses, each with its inverse, and the path of a base."""

from __future__ import annotations

import numpy as np

from vla_policy.geometry.quaternions import (
    quaternion_multiply,
    quaternion_to_rotvec,
    rotvec_to_quaternion,
)
from vla_policy.types import Array


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
    """The path of a base that drives ahead and turns: its pose after each row, from its start.

    speeds: float[..., t, 2] m/s ahead and rad/s to the left, each for step_s. Returns
    float[..., t + 1, 3] x, y in m and yaw in rad; row 0 is the start.
    """
    ahead, turn = speeds[..., 0] * step_s, speeds[..., 1] * step_s
    way = np.stack((ahead * np.cos(_middle(turn)), ahead * np.sin(_middle(turn)), turn), -1)
    return np.concatenate((np.zeros_like(way[..., :1, :]), np.cumsum(way, axis=-2)), axis=-2)


def _middle(turn: Array) -> Array:
    """The yaw in the middle of each row."""
    return np.cumsum(turn, axis=-1) - turn / 2


def canonical_state(state: Array) -> Array:
    """state with the quaternion of its rotation whose largest component is positive.

    state: float[n, 8] x y z qx qy qz qw gripper.
    """
    q = state[..., 3:7]
    largest = np.take_along_axis(q, np.abs(q).argmax(-1, keepdims=True), -1)
    return np.concatenate(
        (state[..., :3], q * np.where(largest < 0, -1.0, 1.0), state[..., 7:]), -1
    )
