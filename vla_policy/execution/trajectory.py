"""Setpoints as one trajectory with velocities, for a controller that takes whole trajectories.

A JointTrajectoryController interpolates between points that have velocities by cubics, wants strictly
increasing times and, unless told otherwise, a last velocity of zero. The motion here has one constant
acceleration from point to point, so the cubic between two points is the parabola itself, and what holds at
the points (speed, acceleration, range) holds in between. It begins with the position and velocity that the
robot has, so that one trajectory can replace another without a jump, and ends with a way to rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.types import Array, readonly

CORRECTION = 0.25  # of a position error, taken back per period


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of each joint, float64[j]: range, and largest speed and acceleration, > 0, per s and s^2."""

    lower: Array
    upper: Array
    speed: Array
    acceleration: Array


@dataclass(frozen=True, slots=True)
class Trajectory:
    """positions, velocities: float64[n, j]. times_ns: int64[n] after the stamp, strictly increasing, from 0.

    Row 0 is where the trajectory begins. The last velocity is zero.
    """

    positions: Array
    velocities: Array
    times_ns: Array


def trajectory(
    targets: Array, position: Array, velocity: Array, *, period_ns: int, bounds: Bounds
) -> Trajectory:
    """Through targets as closely as bounds allow, then to rest.

    targets: float64[n, j], where to be after each period. position, velocity: float64[j], at the start.
    The whole motion is within bounds if the start is (range, speed, and room to stop); a start that is not is
    brought back as fast as the acceleration allows. Raises ValueError if a value is not finite.
    """
    start = (np.asarray(position, float), np.asarray(velocity, float))
    if not all(np.isfinite(values).all() for values in (targets, *start)):
        raise ValueError("trajectory: got a target, position or velocity that is not finite")
    dt_s = period_ns / 1e9
    points = [start]
    wanted = np.diff(targets, axis=0, prepend=targets[:1]) / dt_s
    wanted[0] = (targets[0] - position) / dt_s
    for target, rate in zip(targets, wanted, strict=True):
        points.append(_advance(*points[-1], target, rate, dt_s, bounds))
    while np.any(points[-1][1] != 0.0):
        points.append(_advance(*points[-1], points[-1][0], np.zeros_like(position), dt_s, bounds))
    positions, velocities = (np.stack(values) for values in zip(*points, strict=True))
    times_ns = period_ns * np.arange(len(points))
    return Trajectory(readonly(positions), readonly(velocities), readonly(times_ns, np.int64))


def _advance(
    position: Array, velocity: Array, target: Array, rate: Array, dt_s: float, bounds: Bounds
) -> tuple[Array, Array]:
    """Position and velocity one period later; rate: the velocity of the targets."""
    stops = not np.any(rate) and np.array_equal(target, position)
    gap = target - (position + 0.5 * dt_s * (velocity + rate))
    wish = rate if stops else rate + CORRECTION * gap / dt_s
    change = bounds.acceleration * dt_s
    nearest, farthest = velocity - change, velocity + change
    room_up = _fastest(bounds.upper - position, velocity, dt_s, bounds.acceleration)
    room_down = _fastest(position - bounds.lower, -velocity, dt_s, bounds.acceleration)
    high = np.minimum(bounds.speed, room_up)
    low = np.maximum(-bounds.speed, -room_down)
    after = np.clip(np.clip(wish, low, np.maximum(low, high)), nearest, farthest)
    return position + 0.5 * dt_s * (velocity + after), after


def _fastest(room: Array, velocity: Array, dt_s: float, acceleration: Array) -> Array:
    """The largest velocity one period later from which the end of the room is not passed.

    From v a stop in whole periods takes at most v^2 / (2 a) + a dt^2 / 8.
    """
    left = room - 0.5 * dt_s * velocity - acceleration * dt_s**2 / 8.0
    root = np.sqrt(np.maximum(dt_s**2 / 4.0 + 2.0 * left / acceleration, 0.0))
    return acceleration * (root - dt_s / 2.0)
