"""The way from one command to the next: how long it is and how much of it may be made now."""

from __future__ import annotations

import numpy as np

from vla_policy.execution.interpolate import turn_between, turned
from vla_policy.layout import Layout
from vla_policy.safety.bounds import Robot
from vla_policy.safety.limits import (
    acceleration_ratio,
    joint_acceleration_ratio,
    joint_speed_ratio,
    limit_scalar,
    not_finite,
    speed_ratio,
)
from vla_policy.types import Array, Reason

SLACK = 1e-9  # rounding of the last step check


def motion(start: Array, end: Array, layout: Layout) -> Array:
    """The way from start to end: float64[j] of joints, or float64[6] m and rad of the tool."""
    if layout.joints is not None:
        return end[layout.joints] - start[layout.joints]
    turn = turn_between(start[layout.rotation], end[layout.rotation])
    return np.concatenate((end[layout.position] - start[layout.position], turn))


def advance(start: Array, target: Array, step: Array, ratio: float, layout: Layout) -> Array:
    """start moved by step; exactly target where nothing was limited."""
    if ratio == 1.0:
        return np.array(target)
    values = np.array(start)
    if layout.joints is not None:
        values[layout.joints] = start[layout.joints] + step
        return values
    values[layout.position] = start[layout.position] + step[:3]
    values[layout.rotation] = turned(start[layout.rotation], step[3:])
    return values


def motion_ratio(
    step: Array, velocity: Array, robot: Robot, dt_s: float, reasons: list[Reason]
) -> float:
    """The one ratio that keeps every speed and acceleration limit."""
    limits = robot.embodiment.limits
    if robot.layout.joints is not None:
        speed = joint_speed_ratio(step, limits.joint_speed_per_s, dt_s)
        acceleration = joint_acceleration_ratio(
            step, velocity, limits.joint_acceleration_per_s2, dt_s
        )
    else:
        linear, angular = slice(0, 3), slice(3, 6)
        speed = min(
            speed_ratio(step[linear], limits.linear_speed_m_s, dt_s),
            speed_ratio(step[angular], limits.angular_speed_rad_s, dt_s),
        )
        acceleration = min(
            acceleration_ratio(
                step[linear], velocity[linear], limits.linear_acceleration_m_s2, dt_s
            ),
            acceleration_ratio(
                step[angular], velocity[angular], limits.angular_acceleration_rad_s2, dt_s
            ),
        )
    if speed < 1.0:
        reasons.append(Reason("velocity", f"motion scaled to {speed:.0%} by the speed limits"))
    if acceleration < min(speed, 1.0):
        reasons.append(
            Reason(
                "acceleration", f"motion scaled to {acceleration:.0%} by the acceleration limits"
            )
        )
    return min(speed, acceleration)


def gripper_step(
    start: Array, target: Array, robot: Robot, dt_s: float, reasons: list[Reason]
) -> float:
    column = robot.layout.gripper
    wanted, before = float(target[column][0]), float(start[column][0])
    value = limit_scalar(wanted, before, robot.embodiment.limits.gripper_speed_per_s * dt_s)
    if value != wanted:
        reasons.append(Reason("gripper_speed", f"gripper goes to {value:.3f} before {wanted:.3f}"))
    return value


def step_problem(start: Array, values: Array, robot: Robot, dt_s: float) -> Reason | None:
    """The step itself, measured again on the values that would go out; and finite again."""
    layout, limits = robot.layout, robot.embodiment.limits
    bad = not_finite(values, layout.names)
    if bad:
        return Reason("not_finite", f"{', '.join(bad)} of the command is not finite")
    step = motion(start, values, layout)
    if layout.joints is not None:
        inside = bool(np.all(np.abs(step) <= limits.joint_speed_per_s * dt_s + SLACK))
    else:
        inside = bool(
            np.linalg.norm(step[:3]) <= limits.linear_speed_m_s * dt_s + SLACK
            and np.linalg.norm(step[3:]) <= limits.angular_speed_rad_s * dt_s + SLACK
        )
    if inside:
        return None
    return Reason("step", "the step from the last command is larger than the speed limits allow")
