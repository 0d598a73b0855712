"""Checks that measured joints and camera frames match the description.

`vla check` uses them; at run time they lead to HOLD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.description import Joints
from vla_policy.types import Array

OUTSIDE = 0.1  # rad or m outside the limits: more than calibration


def joint_out_of_range(robot: Embodiment, positions: Array) -> str | None:
    """A sentence about the first joint measured far outside its limits, or None.

    positions: float64[j] in the joints' unit.
    """
    if len(positions) != len(robot.joints.names):
        raise ValueError(f"positions: got {len(positions)}, expected {len(robot.joints.names)}")
    said = (out_of_range(robot.joints, at, float(value)) for at, value in enumerate(positions))
    return next((sentence for sentence in said if sentence is not None), None)


def out_of_range(joints: Joints, at: int, value: float) -> str | None:
    """The same for joint number at only, at value in the joints' unit."""
    low, high = float(joints.lower[at]), float(joints.upper[at])
    if low - OUTSIDE <= value <= high + OUTSIDE:
        return None
    return (
        f"joint {joints.names[at]!r} is at {value:.4g}, its limits are {low:g} to {high:g} {joints.unit}"
        + (": degrees?" if in_degrees(joints, value) else "")
    )


def in_degrees(joints: Joints, value: float) -> bool:
    """Whether value, out of range, looks like degrees that were taken for radians."""
    return joints.wire is None and joints.unit == "rad" and abs(value) > math.tau


def camera_name_mismatch(camera: str, frame: str, cameras: tuple[str, ...]) -> str | None:
    """The other camera whose name is in the frame of camera's images, or None.

    Of names that contain each other (left, left_wrist) the longest counts.
    """
    low, own = frame.lower(), camera.lower()
    named = [o for o in cameras if o != camera and o.lower() in low]
    if own in low:
        named = [o for o in named if own in o.lower()]
    return max(named, key=len, default=None)


def swapped_cameras(frames: Mapping[str, str]) -> tuple[str, str] | None:
    """Two cameras with each other's names in their frames. frames: camera -> frame of its images."""
    names = tuple(frames)
    claims = {name: camera_name_mismatch(name, frame, names) for name, frame in frames.items()}
    for name, other in claims.items():
        if other is not None and claims[other] == name:
            return name, other
    return None
