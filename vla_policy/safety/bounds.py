"""Is a setpoint well formed, inside workspace and ranges, and near enough to start with?

Each function appends its reasons to a list; None means that the setpoint cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment import Embodiment
from vla_policy.execution.interpolate import turn_between
from vla_policy.layout import GRIPPER, JOINTS, POSE, Layout, Part
from vla_policy.safety.limits import clamp_box, not_finite
from vla_policy.types import Array, Reason

WORKSPACE_MARGIN_M = 0.05
JOINT_MARGIN = 0.05  # rad or m
GRIPPER_MARGIN = 0.05  # of the way; a policy's rounding, moved to the edge without a word
QUATERNION_TOLERANCE = 0.05  # of the norm
AXES = ("x", "y", "z")


@dataclass(frozen=True, slots=True)
class Robot:
    """A robot description and the parts of its actions, read once."""

    embodiment: Embodiment
    layout: Layout


def well_formed(proposed: Array, layout: Layout, reasons: list[Reason]) -> Array | None:
    """Names and width, finite, rotations; the target with unit quaternions, or None."""
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
    for part in layout.of_kind(POSE):
        norm = float(np.linalg.norm(target[part.rotation]))
        if not abs(norm - 1.0) <= QUATERNION_TOLERANCE:
            reasons.append(
                Reason("quaternion", f"{part.group}: its norm is {norm:.4g}, expected 1")
            )
            return None
        target[part.rotation] /= norm
    return target


def inside_limits(target: Array, layout: Layout, reasons: list[Reason]) -> Array | None:
    """Workspaces, then position limits; the target moved to their edge, or None if far outside."""
    target = np.array(target)
    for part in layout.of_kind(POSE):
        box = part.limits.workspace
        inside, beyond = clamp_box(target[part.position], box.lower, box.upper)
        if not _judge(beyond, WORKSPACE_MARGIN_M, "workspace", AXES, reasons):
            return None
        target[part.position] = inside
    for part in layout.of_kind(JOINTS):
        inside, beyond = clamp_box(target[part.columns], part.lower, part.upper)
        if not _judge(beyond, JOINT_MARGIN, "position", part.names, reasons):
            return None
        target[part.columns] = inside
    for part in layout.of_kind(GRIPPER):
        inside, beyond = clamp_box(target[part.columns], part.lower, part.upper)
        if beyond[0] > GRIPPER_MARGIN:
            detail = f"{part.names[0]}: outside 0 to 1 by {beyond[0]:.3f}"
            reasons.append(Reason("position", detail))
        target[part.columns] = inside
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


def start_inside(
    here: Array, target: Array, layout: Layout, reasons: list[Reason]
) -> Array | None:
    """Where a first command starts: the measured action inside the limits, near the target."""
    found: list[Reason] = []
    start = inside_limits(here, layout, found)
    if start is None:
        reasons += [Reason("start_outside", f"the robot itself is outside: {found[-1].detail}")]
        return None
    jump = jump_between(here, target, layout)
    if jump is not None:
        reasons.append(Reason("start_jump", f"the first setpoint is {jump}"))
        return None
    return start


def jump_between(start: Array, end: Array, layout: Layout) -> str | None:
    """Words for a distance beyond the start jump limits of a part, or None."""
    for part in layout.parts:
        words = None
        if part.kind == POSE:
            words = _pose_jump(part, start, end)
        elif part.kind == JOINTS:
            words = _joint_jump(part, start, end)
        if words is not None:
            return words
    return None


def _pose_jump(part: Part, start: Array, end: Array) -> str | None:
    limits = part.limits
    distance_m = float(np.linalg.norm(end[part.position] - start[part.position]))
    angle_rad = float(np.linalg.norm(turn_between(start[part.rotation], end[part.rotation])))
    if not distance_m <= limits.start_jump_m:
        return f"{distance_m:.3f} m away, at most {limits.start_jump_m} m is allowed"
    if not angle_rad <= limits.start_jump_rad:
        return f"{angle_rad:.3f} rad away, at most {limits.start_jump_rad} rad is allowed"
    return None


def _joint_jump(part: Part, start: Array, end: Array) -> str | None:
    apart = np.abs(end[part.columns] - start[part.columns])
    worst = int(np.argmax(apart))
    allowed = part.limits.start_jump_rad
    if apart[worst] <= allowed:
        return None
    return f"{apart[worst]:.3f} away at {part.names[worst]}, at most {allowed} is allowed"
