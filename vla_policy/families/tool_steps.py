"""RT-2's eight columns: a tool's steps from row to row, converted to poses from the measured one.

Used by `tiny` and RT-2. Source: RT-2 (arXiv:2307.15818), section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vla_policy.checkpoint.statistics import RangeNormalizer
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.geometry import pose_steps
from vla_policy.types import Array, Observation

STEP = ("dx", "dy", "dz", "drx", "dry", "drz")
GRIPPER = "gripper"
ROW = ("terminate", *STEP, GRIPPER)
STEP_M, STEP_RAD = 0.04, 0.1  # largest step of a tool in a row of 0.1 s


def row_ranges(step_m: float = STEP_M, step_rad: float = STEP_RAD) -> RangeNormalizer:
    """The range of ROW: terminate and the gripper from 0 to 1, steps equal in both directions."""
    steps = np.array([step_m] * 3 + [step_rad] * 3)
    return RangeNormalizer(ROW, np.array([0.0, *-steps, 0.0]), np.array([1.0, *steps, 1.0]))


def tool_pose(observation: Observation, arm: str) -> Array:
    """float64[7]: the measured pose of a tool. arm: prefix of its names in the state."""
    return observation.state[[observation.state_names.index(arm + name) for name in TOOL_POSE]]


def poses_of(said: Mapping[str, Array], observation: Observation, *, arm: str, slot: str) -> Array:
    """float64[rows, 7]: poses after the steps slot + dx .. drz of said, from the measured pose."""
    steps = np.stack([said[slot + name] for name in STEP], axis=1)
    return pose_steps.steps_to_poses(tool_pose(observation, arm), steps)


def steps_of(poses: Array, observation: Observation, *, arm: str) -> Array:
    """Inverse of poses_of: the steps dx ..

    drz, float64[rows, 6], between poses float64[rows, 7].
    """
    return pose_steps.poses_to_steps(tool_pose(observation, arm), poses)
