"""Validity of a received pose; no ROS here."""

from __future__ import annotations

import numpy as np

from vla_policy.types import Array

UNIT_TOLERANCE = 1e-2  # of a quaternion's norm; float32 publishers are within 1e-6


def unit_pose(pose: Array, frame_id: str, expected: str, topic: str) -> Array:
    """float64[7] x y z qx qy qz qw with a unit quaternion, from values given in frame_id.

    Raises ValueError for another frame than expected, values not finite, or an invalid rotation.
    """
    if frame_id != expected:
        raise ValueError(f"{topic}: got frame {frame_id!r}, expected {expected!r}")
    if not np.isfinite(pose).all():
        raise ValueError(f"{topic}: got a pose that is not finite: {pose.tolist()}")
    norm = float(np.linalg.norm(pose[3:]))
    if not abs(norm - 1.0) <= UNIT_TOLERANCE:
        raise ValueError(f"{topic}: got a quaternion of norm {norm:.4g}, expected 1")
    return np.concatenate((pose[:3], pose[3:] / norm))
