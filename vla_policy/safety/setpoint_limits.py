"""Checks that a setpoint is well formed, inside workspace and ranges, and close enough to start.

Each function appends its reasons to a list; None means that the setpoint cannot be used.
"""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment import Workspace
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, ActionPart, Layout
from vla_policy.embodiment.spaces import AXES
from vla_policy.geometry.quaternions import turn_between
from vla_policy.geometry.rotation_formats import QUATERNION_TOLERANCE
from vla_policy.safety.limits import clamp_box, crosses_box, not_finite
from vla_policy.safety.rate_limits import arm_motions
from vla_policy.types import Array, Reason, required

WORKSPACE_MARGIN_M = 0.05
JOINT_MARGIN = 0.05  # rad or m
GRIPPER_MARGIN = 0.05  # of the stroke; a policy's rounding, clamped without a reason
LAG_S = 0.3  # an arm may lag this far behind its command


def well_formed(proposed: Array, layout: Layout, reasons: list[Reason]) -> Array | None:
    """Check names and width, finite, rotations; the target with unit quaternions, or None."""
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
    """Check workspaces, then position limits; the clamped target, or None if far outside."""
    target = np.array(target)
    for part in layout.of_kind(POSE):
        box = required(part.limits.workspace, f"{part.group}: workspace")
        inside, beyond = clamp_box(target[part.position], box.lower, box.upper)
        if not _judge(beyond, WORKSPACE_MARGIN_M, "workspace", AXES, reasons):
            return None
        target[part.position] = inside
    for part in layout.of_kind(JOINTS):
        inside, beyond = clamp_box(target[part.columns], *part.range)
        if not _judge(beyond, JOINT_MARGIN, "position", part.names, reasons):
            return None
        target[part.columns] = inside
    for part in layout.of_kind(GRIPPER):
        inside, beyond = clamp_box(target[part.columns], *part.range)
        if beyond[0] > GRIPPER_MARGIN:
            detail = f"{part.names[0]}: outside 0 to 1 by {beyond[0]:.3f}"
            reasons.append(Reason("position", detail))
        target[part.columns] = inside
    return target


def enters_keep_out(
    start: Array, values: Array, boxes: tuple[Workspace, ...], layout: Layout
) -> Reason | None:
    """The reason if a tool's path from start to values enters a keep-out box."""
    for part in layout.of_kind(POSE):
        for index, box in enumerate(boxes):
            if crosses_box(start[part.position], values[part.position], box.lower, box.upper):
                return Reason("keep_out", f"{part.group} would enter keep-out box {index}")
    return None


def _judge(
    beyond: Array, margin: float, code: str, names: tuple[str, ...], reasons: list[Reason]
) -> bool:
    """Whether the target may be clamped to the limit; each case appends its reason."""
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


def near_start(here: Array, target: Array, layout: Layout, reasons: list[Reason]) -> Array | None:
    """target if a first command may go there from here, the measured action; None if too far.

    None also if here is outside the limits by more than a margin. A robot a little outside goes
    back inside from where it is, at the speed of any motion.
    """
    found: list[Reason] = []
    if inside_limits(here, layout, found) is None:
        reasons += [Reason("start_outside", f"the robot itself is outside: {found[-1].detail}")]
        return None
    jump = jump_between(here, target, layout)
    if jump is not None:
        reasons.append(Reason("start_jump", f"the first setpoint is {jump}"))
        return None
    return target


def jump_between(start: Array, end: Array, layout: Layout) -> str | None:
    """A text for a distance above the start jump limits of an arm, or None."""
    return tracking_error(start, end, None, layout)


def tracking_error(told: Array, here: Array, velocity: Array | None, layout: Layout) -> str | None:
    """A text for an arm further from its commanded position than its start jump and its lag.

    velocity: of all arms, as in rate_limits.arm_motions; None: at rest.
    """
    if velocity is None:
        width = sum(len(p.names) if p.kind == JOINTS else 6 for p in layout.of_kind(JOINTS, POSE))
        velocity = np.zeros(width)
    for part, rate in arm_motions(velocity, layout):
        judge = _pose_apart if part.kind == POSE else _joints_apart
        words = judge(part, told, here, LAG_S * np.abs(rate))
        if words is not None:
            return words
    return None


def _pose_apart(part: ActionPart, start: Array, end: Array, lag: Array) -> str | None:
    jump_m = required(part.limits.start_jump_m, f"{part.group}: start_jump_m")
    jump_rad = required(part.limits.start_jump_rad, f"{part.group}: start_jump_rad")
    distance_m = float(np.linalg.norm(end[part.position] - start[part.position]))
    angle_rad = float(np.linalg.norm(turn_between(start[part.rotation], end[part.rotation])))
    allowed_m = jump_m + float(np.linalg.norm(lag[:3]))
    allowed_rad = jump_rad + float(np.linalg.norm(lag[3:]))
    if not distance_m <= allowed_m:
        return f"{distance_m:.3f} m away, at most {allowed_m:.3g} m is allowed"
    if not angle_rad <= allowed_rad:
        return f"{angle_rad:.3f} rad away, at most {allowed_rad:.3g} rad is allowed"
    return None


def _joints_apart(part: ActionPart, start: Array, end: Array, lag: Array) -> str | None:
    apart = np.abs(end[part.columns] - start[part.columns])
    allowed = required(part.limits.start_jump_rad, f"{part.group}: start_jump_rad") + lag
    worst = int(np.argmax(apart - allowed))
    if apart[worst] <= allowed[worst]:
        return None
    return (
        f"{apart[worst]:.3f} away at {part.names[worst]}, at most {allowed[worst]:.3g} is allowed"
    )
