"""Each limit as a function of values and bounds. Written as accept-if-inside; finite comes first.

Speeds and accelerations give a ratio from 0 to 1: the share of the wanted step that may be made
now. The smallest ratio scales all joints, or position and rotation together, so the direction is
kept and each setpoint lies between the previous one and the target: a convex bound (box, joint
range) that holds for both holds for it as well. The acceleration limits speeding up, not braking:
stopping is always allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_policy.types import Array


def not_finite(values: Array, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the values that are NaN or infinite. values: float64[d] in the order of names."""
    return tuple(n for n, ok in zip(names, np.isfinite(values), strict=True) if not ok)


def clamp_box(values: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """values clamped to [lower, upper], and the size of each correction; float64[d] finite."""
    inside = np.minimum(np.maximum(values, lower), upper)
    return inside, np.abs(values - inside)


def crosses_box(start: Array, end: Array, lower: Array, upper: Array) -> bool:
    """Whether the path from start to end, float64[3], ends in a box or crosses it.

    A path that begins inside and ends outside does not count: it leads out.
    """
    if bool(((lower <= end) & (end <= upper)).all()):
        return True
    if bool(((lower <= start) & (start <= upper)).all()):
        return False
    way = end - start
    enter, leave = 0.0, 1.0
    for i in range(3):
        if way[i] == 0.0:
            if not lower[i] <= start[i] <= upper[i]:
                return False
            continue
        near, far = sorted(((lower[i] - start[i]) / way[i], (upper[i] - start[i]) / way[i]))
        enter, leave = max(enter, near), min(leave, far)
    return bool(enter <= leave)


def speed_ratio(step: Array, max_speed: float, dt_s: float) -> float:
    """Share of step (float64[n], its length counts) that max_speed allows within dt_s."""
    length = float(np.linalg.norm(step))
    allowed = max_speed * dt_s
    return 1.0 if length <= allowed else allowed / length


def acceleration_ratio(
    step: Array, velocity: Array, max_acceleration: float, dt_s: float
) -> float:
    """Share of step for which the velocity changes by at most max_acceleration * dt_s.

    step: float64[n], wanted motion within dt_s. velocity: float64[n], the motion before, per s.
    If no share achieves that (braking, a sharp turn), the one that changes the velocity least.
    """
    if not dt_s > 0.0:
        return 0.0
    wanted = step / dt_s
    squared = float(wanted @ wanted)
    if not squared > 0.0:
        return 1.0
    # |s * wanted - velocity|^2 = change^2 is a quadratic in s; the larger root is the answer.
    change = max_acceleration * dt_s
    along = float(wanted @ velocity) / squared
    rest = along * along - (float(velocity @ velocity) - change * change) / squared
    ratio = along + np.sqrt(max(rest, 0.0))
    return float(min(max(ratio, 0.0), 1.0))


def joint_speed_ratio(step: Array, max_speed: Array, dt_s: float) -> float:
    """Share of step (float64[j]) for which no joint is faster than its max_speed (float64[j])."""
    allowed = max_speed * dt_s
    over = np.abs(step) > allowed
    if not over.any():
        return 1.0
    return float(np.min(allowed[over] / np.abs(step[over])))


def joint_acceleration_ratio(
    step: Array, velocity: Array, max_acceleration: Array, dt_s: float
) -> float:
    """Share of step for which no joint speeds up by more than max_acceleration (float64[j])."""
    ratios = [
        acceleration_ratio(step[i : i + 1], velocity[i : i + 1], float(a), dt_s)
        for i, a in enumerate(max_acceleration)
    ]
    return min(ratios)


def stopping_ratio(
    step: Array, room: Array, max_acceleration: Array, dt_s: float, shortest_s: float
) -> float:
    """Share of step (float64[j], within dt_s) after which all joints still stop within their room.

    room: float64[j], distance each joint may travel in its direction. They brake together, for as
    long as the slowest of them needs at max_acceleration, at least shortest_s; then
    execution/stopping_trajectory.py need not cut any velocity.
    """
    speed = np.abs(step) / dt_s if dt_s > 0.0 else np.zeros_like(step)
    longest_s = float(np.max(speed / max_acceleration, initial=0.0))
    moves = speed > 0.0
    if not moves.any() or longest_s <= 0.0:
        return 1.0
    speed, room = speed[moves], room[moves]
    # share * speed * (share * longest_s / 2 + dt_s) = room is a quadratic in share.
    ratio = (np.sqrt(dt_s * dt_s + 2.0 * longest_s * room / speed) - dt_s) / longest_s
    ratio = np.minimum(ratio, room / (speed * (dt_s + shortest_s / 3.0)))
    return float(min(1.0, ratio.min()))


def limit_scalar(target: float, previous: float, max_step: float) -> float:
    """From previous towards target, at most max_step."""
    return previous + min(max(target - previous, -max_step), max_step)


def limit_vector(target: Array, previous: Array, max_step: float) -> Array:
    """From previous straight towards target, at most max_step; exactly target if within reach."""
    step = target - previous
    ratio = speed_ratio(step, max_step, 1.0)
    return np.array(target) if ratio == 1.0 else previous + ratio * step
