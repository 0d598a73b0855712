"""Published acceptance rules of the stock controllers, as pure functions of the commands.

Each returns the reason of a refusal, or None if the controller would accept the command. The mock
robot refuses by them, and the tests check every published command against them.

Sources, branches jazzy, kilted and master of ros2_controllers as of August 2026:
joint_trajectory_controller (validate_trajectory_msg), forward_command_controller (on_configure,
update), parallel_gripper_controller and gripper_controllers (goal_callback), diff_drive_controller
(the callback of ~/cmd_vel); moveit_servo of Jazzy and Kilted (processTwistCommand,
isValidCommand). Stricter where a value cannot be intended: values that are not finite in a
trajectory, times before its start, and grippers outside their range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vla_policy.embodiment.spaces import BASE_TIMEOUT_NS, SERVO_TIMEOUT_NS
from vla_policy.timing import NS_PER_S

LATE = "too late: "  # prefix of refusals by arrival time, which a loaded machine causes too
ZERO_VELOCITY = 1e-7  # the controller compares with the float epsilon


@dataclass(frozen=True, slots=True)
class Point:
    """time_ns: from the start. Fields that the message lacks are empty."""

    time_ns: int
    positions: tuple[float, ...] = ()
    velocities: tuple[float, ...] = ()
    accelerations: tuple[float, ...] = ()
    effort: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TrajectoryMessage:
    """A trajectory_msgs/JointTrajectory. stamp_ns: 0 means at once."""

    names: tuple[str, ...]
    stamp_ns: int
    points: tuple[Point, ...]


def trajectory_refusal(
    message: TrajectoryMessage, joints: Sequence[str], now_ns: int, *, partial: bool = False
) -> str | None:
    """A JointTrajectoryController of joints with its default parameters, at now_ns.

    partial: allow_partial_joints_goal.
    """
    names, points = message.names, message.points
    if not partial and len(names) != len(joints):
        return f"{len(names)} joints do not match the controller's {len(joints)}"
    if not names:
        return "empty joint names"
    if not points:
        return "empty trajectory"
    if message.stamp_ns != 0:
        end_ns = message.stamp_ns + points[-1].time_ns
        if end_ns < now_ns:
            late_s = (now_ns - end_ns) / NS_PER_S
            return f"{LATE}a non-zero start time and an end {late_s:.4f} s in the past"
    strangers = [name for name in names if name not in joints]
    if strangers:
        return f"{', '.join(strangers)} is not a joint of the controller"
    for name, velocity in zip(names, points[-1].velocities, strict=False):
        if not abs(velocity) <= ZERO_VELOCITY:
            return f"the velocity of the last point of {name} is {velocity:.4g}, not zero"
    return _points_refusal(names, points)


def forward_refusal(values: Sequence[float], joints: Sequence[str]) -> str | None:
    """A forward command controller of joints."""
    if len(values) != len(joints):
        return f"{len(values)} values do not match the {len(joints)} interfaces"
    if not all(math.isfinite(v) for v in values):
        return "a value is not finite"
    return None


def gripper_refusal(positions: Sequence[float], lower: float, upper: float) -> str | None:
    """A gripper action controller whose joint goes from lower to upper."""
    if len(positions) != 1:
        return f"{len(positions)} positions, expected 1"
    slack = 1e-6
    if not lower - slack <= positions[0] <= upper + slack:
        return f"position {positions[0]:.4g} outside {lower:g} to {upper:g}"
    return None


def base_refusal(values: Sequence[float], stamp_ns: int, now_ns: int) -> str | None:
    """A diff_drive_controller or one like it, commanded by TwistStamped."""
    if not all(math.isfinite(v) for v in values):
        return "a value is not finite"
    if stamp_ns != 0 and now_ns - stamp_ns >= BASE_TIMEOUT_NS:
        return f"{LATE}the command is {(now_ns - stamp_ns) / NS_PER_S:.3f} s old"
    return None


def servo_refusal(
    values: Sequence[float], frame: str, stamp_ns: int, now_ns: int, *, confirmed: bool
) -> str | None:
    """MoveIt Servo. confirmed: its command type was switched to this kind and it is not paused."""
    if not confirmed:
        return "the command type was not switched to this kind, or servo is paused"
    if not frame:
        return "an empty frame"
    if not all(math.isfinite(v) for v in values):
        return "a value is not finite"
    if now_ns - stamp_ns >= SERVO_TIMEOUT_NS:
        return f"{LATE}the command is {(now_ns - stamp_ns) / NS_PER_S:.3f} s old"
    return None


def pose_refusal(values: Sequence[float], frame: str, expected: str) -> str | None:
    """A Cartesian controller whose targets are given in the frame expected."""
    if frame != expected:
        return f"a target in frame {frame!r}, expected {expected!r}"
    if len(values) != 7 or not all(math.isfinite(v) for v in values):
        return "a value is not finite"
    norm = math.sqrt(sum(v * v for v in values[3:]))
    if not abs(norm - 1.0) <= 1e-3:
        return f"a quaternion of norm {norm:.4g}"
    return None


def _points_refusal(names: Sequence[str], points: Sequence[Point]) -> str | None:
    before_ns = -1
    for i, point in enumerate(points):
        if point.time_ns <= before_ns or point.time_ns < 0:
            return f"the time of point {i} is not after that of the one before"
        before_ns = point.time_ns
        if len(point.positions) != len(names):
            return f"point {i} has {len(point.positions)} positions for {len(names)} joints"
        for what in ("velocities", "accelerations"):
            values = getattr(point, what)
            if values and len(values) != len(names):
                return f"point {i} has {len(values)} {what} for {len(names)} joints"
        if point.effort:
            return f"point {i} has effort, which only a controller that commands effort takes"
        numbers = (*point.positions, *point.velocities, *point.accelerations)
        if not all(math.isfinite(v) for v in numbers):
            return f"a value of point {i} is not finite"
    return None
