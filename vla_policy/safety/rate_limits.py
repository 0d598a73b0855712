"""The motion from one command to the next: its size and the share that may be made now.

Arms (joints and tool poses) share one ratio, so that several arms keep their directions and stay
together. Grippers and velocities have their own limits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, ActionPart, Layout
from vla_policy.execution.spline import ActionRates
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.safety.limits import (
    acceleration_ratio,
    joint_acceleration_ratio,
    joint_speed_ratio,
    limit_scalar,
    limit_vector,
    not_finite,
    speed_ratio,
)
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Reason, required

SLACK = 1e-9  # rounding in the last check of a step


def arm_motions(vector: Array, layout: Layout) -> Iterator[tuple[ActionPart, Array]]:
    """Each arm's share of a motion vector: float64[n] of joints, or float64[6] m and rad."""
    start = 0
    for part in layout.of_kind(JOINTS, POSE):
        width = len(part.names) if part.kind == JOINTS else 6
        yield part, vector[start : start + width]
        start += width


def rates_of_arms(velocity: Array, layout: Layout, step_ns: int) -> ActionRates:
    """The ActionRates, per step of step_ns, of arms that move with velocity (per s, as in arm_motions)."""
    step_s = s_from_ns(step_ns)
    linear, turning = np.zeros((1, len(layout.names))), []
    for part, rate in arm_motions(velocity, layout):
        if part.kind == JOINTS:
            linear[0, part.columns] = step_s * rate
        else:
            linear[0, part.position] = step_s * rate[:3]
            turning.append(step_s * rate[3:])
    return ActionRates(linear, np.array(turning).reshape(1, -1, 3))


def motion(start: Array, end: Array, layout: Layout) -> Array:
    """The motion of all arms from start to end as one vector; see arm_motions."""
    ways = [np.zeros(0)]
    for part in layout.of_kind(JOINTS, POSE):
        if part.kind == JOINTS:
            ways.append(end[part.columns] - start[part.columns])
        else:
            ways.append(end[part.position] - start[part.position])
            ways.append(turn_between(start[part.rotation], end[part.rotation]))
    return np.concatenate(ways)


def advance(start: Array, target: Array, step: Array, ratio: float, layout: Layout) -> Array:
    """start with its arms moved by step; exactly target where nothing was limited."""
    values = np.array(target)
    if ratio == 1.0:
        return values
    for part, way in arm_motions(step, layout):
        if part.kind == JOINTS:
            values[part.columns] = start[part.columns] + way
        else:
            values[part.position] = start[part.position] + way[:3]
            values[part.rotation] = turned(start[part.rotation], way[3:])
    return values


def motion_ratio(
    step: Array,
    velocity: Array,
    layout: Layout,
    dt_s: float,
    reasons: list[Reason],
    *,
    share: float = 1.0,
    grown: float = 1.0,
) -> float:
    """The one ratio that keeps every speed and acceleration limit of every arm.

    share: of the speed limits that is allowed now. grown: what it grows to after engaging.
    """
    speed, acceleration = 1.0, 1.0
    pairs = zip(arm_motions(step, layout), arm_motions(velocity, layout), strict=True)
    for (part, way), (_, rate) in pairs:
        if part.kind == JOINTS:
            a, b = _joint_ratios(part, way, rate, dt_s, share)
        else:
            a, b = _pose_ratios(part, way, rate, dt_s, share)
        speed, acceleration = min(speed, a), min(acceleration, b)
    if speed < 1.0:
        fading = share < grown
        of_which = f", of which {share:.0%} is allowed" if share < 1.0 else ""
        detail = f"motion scaled to {speed:.0%} by the speed limits{of_which}"
        detail += " so soon after engaging" * fading
        reasons.append(Reason("engage_fade" if fading else "velocity", detail))
    if acceleration < min(speed, 1.0):
        reasons.append(
            Reason(
                "acceleration", f"motion scaled to {acceleration:.0%} by the acceleration limits"
            )
        )
    return min(speed, acceleration)


def _joint_ratios(
    part: ActionPart, way: Array, rate: Array, dt_s: float, share: float
) -> tuple[float, float]:
    speed, acceleration = part.limits.joint_rates
    return (
        joint_speed_ratio(way, share * speed, dt_s),
        joint_acceleration_ratio(way, rate, acceleration, dt_s),
    )


def _pose_ratios(
    part: ActionPart, way: Array, rate: Array, dt_s: float, share: float
) -> tuple[float, float]:
    axes = ((slice(0, 3), *part.limits.linear_rates), (slice(3, 6), *part.limits.angular_rates))
    return (
        min(speed_ratio(way[columns], share * speed, dt_s) for columns, speed, _ in axes),
        min(
            acceleration_ratio(way[columns], rate[columns], acceleration, dt_s)
            for columns, _, acceleration in axes
        ),
    )


def move_grippers(
    values: Array, start: Array, layout: Layout, dt_s: float, reasons: list[Reason]
) -> None:
    """Limit the speed of each gripper in values, in place; never outside its range."""
    for part in layout.of_kind(GRIPPER):
        lower, upper = part.range
        speed = required(part.limits.gripper_speed_per_s, f"{part.group}: gripper_speed_per_s")
        wanted, before = float(values[part.columns][0]), float(start[part.columns][0])
        before = min(max(before, float(lower[0])), float(upper[0]))
        value = limit_scalar(wanted, before, speed * dt_s)
        values[part.columns] = value
        if value != wanted:
            detail = f"{part.names[0]} goes to {value:.3f} before {wanted:.3f}"
            reasons.append(Reason("gripper_speed", detail))


def move_velocities(
    values: Array,
    before: Array,
    layout: Layout,
    dt_s: float,
    reasons: list[Reason],
    *,
    share: float = 1.0,
) -> None:
    """Limit each velocity in values and its change from before, in place; share: as above."""
    for part in layout.of_kind(VELOCITY):
        for columns, speed, acceleration in axes_of(part):
            wanted = values[columns]
            allowed = wanted * speed_ratio(wanted, share * speed, 1.0)
            reached = limit_vector(allowed, before[columns], acceleration * dt_s)
            if (allowed != wanted).any():
                reasons.append(Reason("velocity", f"{part.group} kept at its speed limit"))
            if (reached != allowed).any():
                reasons.append(
                    Reason("acceleration", f"{part.group} kept at its acceleration limit")
                )
            values[columns] = reached


def axes_of(part: ActionPart) -> tuple[tuple[slice, float, float], tuple[slice, float, float]]:
    """Columns, speed and acceleration limit of the linear and of the angular axes of a VELOCITY.

    The linear axes are those before the first whose name starts with w.
    """
    linear = sum(not name.rpartition(".")[2].startswith("w") for name in part.names)
    middle = part.columns.start + linear
    return (
        (slice(part.columns.start, middle), *part.limits.linear_rates),
        (slice(middle, part.columns.stop), *part.limits.angular_rates),
    )


def step_problem(start: Array, values: Array, layout: Layout, dt_s: float) -> Reason | None:
    """Check the step of the values to be published once more; and that they are finite."""
    bad = not_finite(values, layout.names)
    if bad:
        return Reason("not_finite", f"{', '.join(bad)} of the command is not finite")
    for part, way in arm_motions(motion(start, values, layout), layout):
        limits = part.limits
        if part.kind == JOINTS:
            inside = bool(np.all(np.abs(way) <= limits.joint_rates[0] * dt_s + SLACK))
        else:
            inside = bool(
                np.linalg.norm(way[:3]) <= limits.linear_rates[0] * dt_s + SLACK
                and np.linalg.norm(way[3:]) <= limits.angular_rates[0] * dt_s + SLACK
            )
        if not inside:
            detail = f"the step of {part.group} is larger than its speed limits allow"
            return Reason("step", detail)
    for part in layout.of_kind(VELOCITY):
        for columns, speed, _ in axes_of(part):
            if not np.linalg.norm(values[columns]) <= speed + SLACK:
                return Reason("step", f"{part.group} would be faster than its limit")
    return None
