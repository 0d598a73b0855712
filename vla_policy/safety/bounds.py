"""Is a setpoint well formed, inside workspace and ranges, and near enough to start with?

Each function appends its reasons to a list; None means that the setpoint cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.execution.interpolate import turn_between
from vla_policy.layout import Layout
from vla_policy.safety.limits import clamp_box, not_finite
from vla_policy.types import Array, Reason

WORKSPACE_MARGIN_M = 0.05
JOINT_MARGIN = 0.05  # rad or m
GRIPPER_MARGIN = 0.05  # of the way; a policy's rounding, moved to the edge without a word
QUATERNION_TOLERANCE = 0.05  # of the norm


@dataclass(frozen=True, slots=True)
class Robot:
    """A robot description and the columns of its actions, read once."""

    embodiment: Embodiment
    layout: Layout


def well_formed(proposed: Array, layout: Layout, reasons: list[Reason]) -> Array | None:
    """Names and width, finite, a rotation; the target with a unit quaternion, or None."""
    values = np.asarray(proposed)
    if values.dtype != np.float64 or values.shape != (len(layout.names),):
        got = f"{values.dtype}{list(values.shape)}"
        reasons.append(Reason("width", f"got {got}, expected float64[{len(layout.names)}]"))
        return None
    bad = not_finite(values, layout.names)
    if bad:
        reasons.append(Reason("not_finite", f"{', '.join(bad)} of the setpoint is not finite"))
        return None
    target = np.array(values)
    if layout.rotation is not None:
        norm = float(np.linalg.norm(target[layout.rotation]))
        if not abs(norm - 1.0) <= QUATERNION_TOLERANCE:
            reasons.append(Reason("quaternion", f"its norm is {norm:.4g}, expected 1"))
            return None
        target[layout.rotation] /= norm
    return target


def inside_limits(target: Array, robot: Robot, reasons: list[Reason]) -> Array | None:
    """Workspace, then position limits; the target moved to their edge, or None if far outside."""
    layout, bounds = robot.layout, robot.embodiment
    target = np.array(target)
    if layout.position is not None and bounds.limits.workspace is not None:
        box = bounds.limits.workspace
        inside, beyond = clamp_box(target[layout.position], box.lower, box.upper)
        if not _judge(beyond, WORKSPACE_MARGIN_M, "workspace", ("x", "y", "z"), reasons):
            return None
        target[layout.position] = inside
    if layout.joints is not None:
        inside, beyond = clamp_box(target[layout.joints], bounds.joints.lower, bounds.joints.upper)
        if not _judge(beyond, JOINT_MARGIN, "position", bounds.joint_names, reasons):
            return None
        target[layout.joints] = inside
    if layout.gripper is not None:
        inside, beyond = clamp_box(target[layout.gripper], np.zeros(1), np.ones(1))
        if beyond[0] > GRIPPER_MARGIN:
            reasons.append(Reason("position", f"gripper: outside 0 to 1 by {beyond[0]:.3f}"))
        target[layout.gripper] = inside
    return target


def _judge(
    beyond: Array, margin: float, code: str, names: tuple[str, ...], reasons: list[Reason]
) -> bool:
    """Whether the target may be moved to the edge; each case has its reason."""
    far = [f"{n} by {b:.3f}" for n, b in zip(names, beyond, strict=True) if b > 0.0]
    if not far:
        return True
    if not float(beyond.max()) <= margin:
        reasons.append(
            Reason(f"{code}_far", f"target outside the {code} limits: {', '.join(far)}")
        )
        return False
    reasons.append(
        Reason(code, f"target moved to the edge of the {code} limits: {', '.join(far)}")
    )
    return True


def start_inside(here: Array, target: Array, robot: Robot, reasons: list[Reason]) -> Array | None:
    """Where a first command starts: the measured action inside the limits, near the target."""
    found: list[Reason] = []
    start = inside_limits(here, robot, found)
    if start is None:
        reasons += [Reason("start_outside", f"the robot itself is outside: {found[-1].detail}")]
        return None
    jump = jump_between(here, target, robot)
    if jump is not None:
        reasons.append(Reason("start_jump", f"the first setpoint is {jump}"))
        return None
    return start


def jump_between(start: Array, end: Array, robot: Robot) -> str | None:
    """Words for a distance beyond the start jump limits, or None."""
    layout, limits = robot.layout, robot.embodiment.limits
    if layout.position is not None and layout.rotation is not None:
        distance_m = float(np.linalg.norm(end[layout.position] - start[layout.position]))
        angle_rad = float(
            np.linalg.norm(turn_between(start[layout.rotation], end[layout.rotation]))
        )
        if limits.start_jump_m is None or not distance_m <= limits.start_jump_m:
            return f"{distance_m:.3f} m away, at most {limits.start_jump_m} m is allowed"
        if limits.start_jump_rad is None or not angle_rad <= limits.start_jump_rad:
            return f"{angle_rad:.3f} rad away, at most {limits.start_jump_rad} rad is allowed"
    if layout.joints is not None:
        apart = np.abs(end[layout.joints] - start[layout.joints])
        worst = int(np.argmax(apart))
        if limits.start_jump_rad is None or not apart[worst] <= limits.start_jump_rad:
            name = robot.embodiment.joint_names[worst]
            return f"{apart[worst]:.3f} away at {name}, at most {limits.start_jump_rad} is allowed"
    return None
