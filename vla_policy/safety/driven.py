"""Tools that are driven by their velocity: how fast they may go so that they still stop inside the boxes.

Nobody says where such a tool is to be, so it is judged by where it may get to: from where it was measured it
has gone on with what was commanded; the new velocity then lasts until its controller's time is out, as nothing
else may come; and it brakes within its acceleration limit.
"""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment import Workspace
from vla_policy.layout import VELOCITY, Part
from vla_policy.safety.bounds import Robot
from vla_policy.safety.limits import clamp_box, crosses_box
from vla_policy.safety.standing import timeout_ns
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Reason, RobotState

SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.08)  # of a velocity that are tried near a box
AXES = ("x", "y", "z")


def tools(robot: Robot) -> tuple[Part, ...]:
    """The parts that drive a tool; what else is driven is a base."""
    return tuple(part for part in robot.layout.of_kind(VELOCITY) if part.source)


def linear(part: Part) -> slice:
    """Columns of the three linear axes of a tool's velocity."""
    return slice(part.columns.start, part.columns.start + 3)


def leaves(
    robot: Robot, before: Array, values: Array, seen: RobotState, now_ns: int
) -> Reason | None:
    """Why the tools must not be driven so: one would leave its workspace, enter a box, or is not measured.

    before, values: float64[d], the velocities that are commanded now and next. Outside already, or inside a
    keep-out box, a tool may come back.
    """
    for part in tools(robot):
        boxes = robot.embodiment.limits.keep_out
        if part.limits.workspace is None and not boxes:
            continue
        pose = seen.poses.get(part.source)
        if pose is None:
            return Reason("no_position", f"the pose of {part.source} has not been measured")
        now, then = reach(robot, part, pose[:3], before, values, _age_s(robot, part, seen, now_ns))
        found = _left(part, now, then) or _entered(part, now, then, boxes)
        if found is not None:
            return found
    return None


def reach(
    robot: Robot, part: Part, position: Array, before: Array, values: Array, age_s: float
) -> tuple[Array, Array]:
    """Where a tool measured age_s ago may be now, and where it may come to rest; float64[3] base frame.

    While it was measured it may have been braking, and so have been faster than before by age_s of braking.
    """
    brake = part.limits.linear_acceleration_m_s2
    old, new = before[linear(part)], values[linear(part)]
    speed = float(np.linalg.norm(old))
    drift = old * age_s
    if speed > 0.0:
        drift = drift + old / speed * (0.5 * brake * age_s * age_s)
    now = position + drift
    lasts_s = s_from_ns(robot.embodiment.period_ns + timeout_ns(part, robot))
    return now, now + new * (lasts_s + float(np.linalg.norm(new)) / (2.0 * brake))


def _left(part: Part, now: Array, then: Array) -> Reason | None:
    box = part.limits.workspace
    if box is None:
        return None
    outside_now = clamp_box(now, box.lower, box.upper)[1]
    outside_then = clamp_box(then, box.lower, box.upper)[1]
    if (outside_then <= outside_now).all():
        return None
    axis = AXES[int(np.argmax(outside_then - outside_now))]
    return Reason("workspace_far", f"{part.group} would leave the workspace along {axis}")


def _entered(part: Part, now: Array, then: Array, boxes: tuple[Workspace, ...]) -> Reason | None:
    for index, box in enumerate(boxes):
        if _depth(then, box) < _depth(now, box) or not (then != now).any():
            continue  # it comes out, or stands
        if crosses_box(now, then, box.lower, box.upper):
            return Reason("keep_out", f"{part.group} would enter keep-out box {index}")
    return None


def _depth(position: Array, box: Workspace) -> float:
    """How far inside a box, from its nearest face; 0 outside."""
    return max(0.0, float(np.minimum(position - box.lower, box.upper - position).min()))


def _age_s(robot: Robot, part: Part, seen: RobotState, now_ns: int) -> float:
    """How old the pose of a tool is; as old as it may be where it has no stamp."""
    longest_s = robot.embodiment.poses[part.source].max_age_s
    if seen.ee_ns is None:
        return longest_s
    return min(max(s_from_ns(now_ns - seen.ee_ns), 0.0), longest_s)
