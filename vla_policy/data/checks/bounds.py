"""Allowed values of a robot's state and action columns, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, layout_of
from vla_policy.embodiment.spaces import AXES, JOINT_PREFIX, QUATERNION_PARTS


@dataclass(frozen=True, slots=True)
class ColumnBounds:
    """ranges: column -> (lower, upper).

    speeds: column -> largest per s. robot: its name; '' unknown.
    """

    robot: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    speeds: Mapping[str, float] = field(default_factory=dict)


UNKNOWN = ColumnBounds()


def bounds_of(robot: Embodiment) -> ColumnBounds:
    """From the limits of the robot's file; columns without limits are left out."""
    ranges: dict[str, tuple[float, float]] = {}
    speeds: dict[str, float] = {}
    joints = robot.joints
    for i, name in enumerate(joints.names):
        ranges[JOINT_PREFIX + name] = (float(joints.lower[i]), float(joints.upper[i]))
    for name in (*robot.state_names, *layout_of(robot).names):
        last = name.rpartition(".")[2]
        if last == "gripper" and name not in ranges:
            ranges[name] = (0.0, 1.0)
        elif last in QUATERNION_PARTS:
            ranges[name] = (-1.0, 1.0)
    for part in layout_of(robot).parts:
        limits = part.limits
        if part.kind in (JOINTS, GRIPPER):
            lower, upper = part.range
            ranges |= {
                n: (float(a), float(b)) for n, a, b in zip(part.names, lower, upper, strict=True)
            }
        if part.kind == JOINTS and limits.joint_speed_per_s is not None:
            speeds |= dict(zip(part.names, map(float, limits.joint_speed_per_s), strict=True))
        if part.kind == POSE:
            names = part.names[:3]
            if limits.workspace is not None:
                box = zip(names, limits.workspace.lower, limits.workspace.upper, strict=True)
                ranges |= {n: (float(a), float(b)) for n, a, b in box}
            if limits.linear_speed_m_s is not None:
                speeds |= dict.fromkeys(names, float(limits.linear_speed_m_s))
        if part.kind == VELOCITY:
            for name in part.names:
                linear = name.rpartition(".")[2] in AXES
                most = limits.linear_speed_m_s if linear else limits.angular_speed_rad_s
                if most is not None:
                    ranges[name] = (-float(most), float(most))
    return ColumnBounds(robot.name, ranges, speeds)
