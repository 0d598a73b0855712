"""Steps of a tool from one row to the next, as poses from where it is measured; `tiny` and RT-2 speak in such steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vla_policy.families.tiny.columns import POSE, STEP
from vla_policy.geometry import pose_steps
from vla_policy.types import Array, Observation


def tool_pose(observation: Observation, arm: str) -> Array:
    """float64[7]: the measured pose of a tool. arm: what stands before its names in the state."""
    return observation.state[[observation.state_names.index(arm + name) for name in POSE]]


def poses_of(said: Mapping[str, Array], observation: Observation, *, arm: str, slot: str) -> Array:
    """float64[rows, 7]: the poses that the columns slot + dx .. drz of said lead to from the measured one."""
    steps = np.stack([said[slot + name] for name in STEP], axis=1)
    return pose_steps.steps_to_poses(tool_pose(observation, arm), steps)
