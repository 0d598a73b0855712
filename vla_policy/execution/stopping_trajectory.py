"""A setpoint for a trajectory controller: reach it, come to rest after it, and stay.

A JointTrajectoryController takes only trajectories that end at rest, and a newer one replaces the
older at once. So each setpoint is published with its path to rest: while setpoints keep coming the
end is never reached, and when they stop the robot brakes by itself within its acceleration limit.

The message is made from this path; when a command is late, the guard evaluates it to know where
the controller is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment.layout import ActionPart
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array

LEAD_PERIODS = 2  # of commands, until a setpoint is reached: the next one comes before that
# The trajectory ends this long after its stamp: a controller refuses one that ends in its past,
# and its clock may be a little ahead.
REST_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Braking:
    """times_ns: int[3] after the stamp, strictly increasing. positions, velocities: float64[3, j]."""

    times_ns: tuple[int, int, int]
    positions: Array
    velocities: Array


def joint_way(part: ActionPart, values: Array, rates: Array, period_ns: int) -> Braking:
    """The trajectory for one setpoint of a part's joints; the guard checks it too.

    values, rates: float64[j] in the joints' unit, and per s. period_ns: of the commands.
    """
    fastest, acceleration = part.limits.joint_rates
    lower, upper = part.range
    return braking(
        values,
        np.clip(rates, -fastest, fastest),
        acceleration=acceleration,
        lower=np.minimum(lower, values),
        upper=np.maximum(upper, values),
        lead_ns=LEAD_PERIODS * period_ns,
    )


def at(way: Braking, elapsed_ns: int) -> tuple[Array, Array]:
    """Position and velocity float64[j] of way, elapsed_ns after its stamp; before it, its start.

    Between its points as in a controller: cubics through positions and velocities.
    """
    first_ns, stop_ns, _ = way.times_ns
    if elapsed_ns <= first_ns:
        return way.positions[0], way.velocities[0]
    if elapsed_ns >= stop_ns:
        return way.positions[1], way.velocities[1]
    span_s = (stop_ns - first_ns) / NS_PER_S
    u = (elapsed_ns - first_ns) / (stop_ns - first_ns)
    step, start = way.positions[1] - way.positions[0], way.velocities[0]
    position = way.positions[0] + (3 - 2 * u) * u * u * step + (1 - u) ** 2 * u * span_s * start
    velocity = 6 * u * (1 - u) / span_s * step + (1 - u) * (1 - 3 * u) * start
    return position, velocity


def braking(
    target: Array,
    velocity: Array,
    *,
    acceleration: Array,
    lower: Array,
    upper: Array,
    lead_ns: int,
) -> Braking:
    """Through target with velocity after lead_ns, then to rest between lower and upper.

    All float64[j], in the joints' unit per s and s^2. acceleration > 0. target is inside the range.
    Joints stop together, each as the slowest of them allows, so the direction is kept.
    """
    stop_s = max(float(np.max(np.abs(velocity) / acceleration)), lead_ns / NS_PER_S)
    # A cubic from rest distance d overshoots if it starts faster than 3 d / t.
    fastest = 3.0 / stop_s
    velocity = np.clip(velocity, fastest * (lower - target), fastest * (upper - target))
    end = np.clip(target + 0.5 * stop_s * velocity, lower, upper)
    stop_ns = lead_ns + round(stop_s * NS_PER_S)
    still = np.zeros_like(target)
    return Braking(
        times_ns=(lead_ns, stop_ns, max(REST_NS, stop_ns + lead_ns)),
        positions=np.stack((target, end, end)),
        velocities=np.stack((velocity, still, still)),
    )
