"""Tools driven by velocity: how fast they may move so that they still stop inside the boxes.

Such a tool has no commanded position, so the positions that it may reach are checked: from where
it was measured it has continued with the commanded velocity; the new velocity then lasts until its
controller's timeout, as no other command may come; and it brakes within its acceleration limit.
"""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment import Workspace
from vla_policy.embodiment.layout import VELOCITY, ActionPart
from vla_policy.embodiment.spaces import AXES
from vla_policy.safety.controller_state import timeout_ns
from vla_policy.safety.limits import clamp_box, crosses_box
from vla_policy.safety.robot import GuardedRobot
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Reason, RobotState

SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.08)  # of a velocity, tried near a box


def tools(robot: GuardedRobot) -> tuple[ActionPart, ...]:
    """The parts that drive a tool; any other velocity drives a base."""
    return tuple(part for part in robot.layout.of_kind(VELOCITY) if part.source)


def linear(part: ActionPart) -> slice:
    """Columns of the three linear axes of a tool's velocity."""
    return slice(part.columns.start, part.columns.start + 3)


def leaves(
    robot: GuardedRobot, before: Array, values: Array, seen: RobotState, now_ns: int
) -> Reason | None:
    """The reason if a tool driven so would leave its workspace or enter a box, or is not measured.

    before, values: float64[d], the velocities commanded now and next. A tool already outside its
    workspace, or inside a keep-out box, may come back.
    """
    for part in tools(robot):
        boxes = robot.embodiment.limits.keep_out
        if part.limits.workspace is None and not boxes:
            continue
        pose = seen.poses.get(part.source)
        if pose is None:
            return Reason("no_position", f"the pose of {part.source} has not been measured")
        age_s = _age_s(robot, part, seen, now_ns)
        now, then = reach(robot, part, pose[:3], before, values, age_s)
        # Since the pose was measured the velocity may have changed, in any direction.
        unsure_m = 0.5 * part.limits.linear_rates[1] * age_s * age_s
        found = _left(part, now, then, unsure_m) or _entered(part, now, then, boxes, unsure_m)
        if found is not None:
            return found
    return None


def reach(
    robot: GuardedRobot,
    part: ActionPart,
    position: Array,
    before: Array,
    values: Array,
    age_s: float,
) -> tuple[Array, Array]:
    """Where a tool measured age_s ago is now, and where it may come to rest; float64[3] base frame."""
    brake = part.limits.linear_rates[1]
    new = values[linear(part)]
    now = position + before[linear(part)] * age_s
    lasts_s = s_from_ns(robot.embodiment.period_ns + timeout_ns(part, robot))
    return now, now + new * (lasts_s + float(np.linalg.norm(new)) / (2.0 * brake))


def _left(part: ActionPart, now: Array, then: Array, unsure_m: float) -> Reason | None:
    box = part.limits.workspace
    if box is None:
        return None
    middle = (box.lower + box.upper) / 2
    lower, upper = (
        np.minimum(box.lower + unsure_m, middle),
        np.maximum(box.upper - unsure_m, middle),
    )
    outside_now = clamp_box(now, lower, upper)[1]
    outside_then = clamp_box(then, lower, upper)[1]
    if (outside_then <= outside_now).all():
        return None
    axis = AXES[int(np.argmax(outside_then - outside_now))]
    return Reason("workspace_far", f"{part.group} would leave the workspace along {axis}")


def _entered(
    part: ActionPart, now: Array, then: Array, boxes: tuple[Workspace, ...], unsure_m: float
) -> Reason | None:
    for index, box in enumerate(boxes):
        lower, upper = box.lower - unsure_m, box.upper + unsure_m
        comes_out = _depth(then, lower, upper) < _depth(now, lower, upper)
        if not comes_out and (then != now).any() and crosses_box(now, then, lower, upper):
            return Reason("keep_out", f"{part.group} would enter keep-out box {index}")
    return None


def _depth(position: Array, lower: Array, upper: Array) -> float:
    """Distance inside a box from its nearest face; 0 outside."""
    return max(0.0, float(np.minimum(position - lower, upper - position).min()))


def _age_s(robot: GuardedRobot, part: ActionPart, seen: RobotState, now_ns: int) -> float:
    """Age of the pose of a tool; the oldest that is allowed where it has no stamp."""
    longest_s = robot.embodiment.poses[part.source].max_age_s
    if seen.ee_ns is None:
        return longest_s
    return min(max(s_from_ns(now_ns - seen.ee_ns), 0.0), longest_s)
