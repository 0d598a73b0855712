"""Rows on the time axis as a curve whose velocity is continuous.

Knot 0 is the start of the curve, knot k + 1 is row k; u counts steps from knot 0. Between knots:
cubic Hermite, in joints, positions and velocities by column, in rotations on the sphere. Slopes at
the knots are those of monotone interpolation (Fritsch and Butland 1984), so that from row 0 on the
curve never overshoots its rows: a gripper that stops above a table does not dip into it. The last
slope is zero. The slope at row 0 depends on the rows alone, so that a plan means the same wherever
the arm entered it; before row 0 the arm may overshoot by 4/27 of the step from row 0 to row 1.

A gripper is not interpolated: it has the value of the current row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, Layout
from vla_policy.geometry.quaternions import (
    cross,
    length,
    quaternion_multiply,
    rotvec_to_quaternion,
    turn_between,
    turned,
)
from vla_policy.types import Array

SMALL = 1e-4  # rad; below it the closed forms below lose precision


@dataclass(frozen=True, slots=True)
class ActionRates:
    """Rate of change of an action, per step.

    linear: float64[m, d], zero in rotations and grippers.
    turning: float64[m, r, 3], of each rotation in the order of Layout.parts, rad along base axes.
    """

    linear: Array
    turning: Array


@dataclass(frozen=True, slots=True)
class Curve:
    """knots: float64[n + 1, d]. slopes: ActionRates at them. turns: float64[n, r, 3], knot to knot, rad."""

    knots: Array
    slopes: ActionRates
    turns: Array


def curve(start: Array, rows: Array, layout: Layout) -> Curve:
    """The curve from start float64[d], from rest, through rows float64[n, d]."""
    knots = np.concatenate((start[None], rows))
    steps = np.zeros_like(rows)
    smooth = linear_columns(layout)
    steps[:, smooth] = np.diff(knots[:, smooth], axis=0)
    turns = np.zeros((len(rows), len(layout.of_kind(POSE)), 3))
    for i, part in enumerate(layout.of_kind(POSE)):
        turns[:, i] = turn_between(knots[:-1, part.rotation], knots[1:, part.rotation])
    return Curve(knots, ActionRates(_slopes(steps), _slopes(turns)), turns)


def linear_columns(layout: Layout) -> Array:
    """bool[d]: the columns that are interpolated independently."""
    columns = np.zeros(len(layout.names), dtype=bool)
    for part in layout.of_kind(JOINTS, VELOCITY):
        columns[part.columns] = True
    for part in layout.of_kind(POSE):
        columns[part.position] = True
    return columns


def evaluate(line: Curve, u: Array, layout: Layout) -> tuple[Array, ActionRates]:
    """Actions float64[m, d] and their ActionRates at u float64[m] steps; constant outside 0 ..

    n.
    """
    count = len(line.turns)
    u = np.clip(np.asarray(u, dtype=np.float64), 0.0, count)
    k = np.minimum(u.astype(int), count - 1)
    s = (u - k)[:, None]
    a, b = line.knots[k], line.knots[k + 1]
    slope_a, slope_b = line.slopes.linear[k], line.slopes.linear[k + 1]
    value, rate = _hermite(s, b - a, slope_a, slope_b)
    values, linear = a + value, np.where(linear_columns(layout), rate, 0.0)
    turning = np.zeros((len(u), line.turns.shape[1], 3))
    for i, part in enumerate(layout.of_kind(POSE)):
        way = line.turns[k, i]
        arrive = inverse_left_jacobian(way, line.slopes.turning[k + 1, i])
        turn, turn_rate = _hermite(s, way, line.slopes.turning[k, i], arrive)
        values[:, part.rotation] = turned(a[:, part.rotation], turn)
        turning[:, i] = left_jacobian(turn, turn_rate)
    for part in layout.of_kind(GRIPPER):
        values[:, part.columns] = b[:, part.columns]
    return values, ActionRates(linear, turning)


def moved(values: Array, rates: ActionRates, steps: float, layout: Layout) -> Array:
    """values float64[d] after a fraction of a step at constant rates."""
    out: Array = values + steps * rates.linear[0]
    for i, part in enumerate(layout.of_kind(POSE)):
        out[part.rotation] = turned(values[part.rotation], steps * rates.turning[0, i])
    return out


@dataclass(frozen=True, slots=True)
class Offset:
    """Offset of the arm from a new curve on entry; it fades, with its rate, within one step.

    linear: float64[d], linear_rate: per step. turns, turn_rates: float64[r, 3], rad along base axes.
    """

    linear: Array
    linear_rate: Array
    turns: Array
    turn_rates: Array


def offset(
    wanted: Array, wanted_rates: ActionRates, values: Array, rates: ActionRates, layout: Layout
) -> Offset:
    """The offset from the curve's values and rates to the arm's, at one moment."""
    smooth = linear_columns(layout)
    parts = layout.of_kind(POSE)
    turns, turn_rates = np.zeros((len(parts), 3)), np.zeros((len(parts), 3))
    for i, part in enumerate(parts):
        turns[i] = turn_between(values[part.rotation], wanted[part.rotation])
        carried = _rotate(turns[i], rates.turning[0, i])
        turn_rates[i] = inverse_left_jacobian(turns[i], wanted_rates.turning[0, i] - carried)
    return Offset(
        np.where(smooth, wanted - values, 0.0),
        wanted_rates.linear[0] - rates.linear[0],
        turns,
        turn_rates,
    )


def displaced(
    values: Array, rates: ActionRates, gap: Offset, share: float, layout: Layout
) -> tuple[Array, ActionRates]:
    """values float64[1, d] and rates of a curve, plus gap after share 0 .. 1 of a step."""
    left, rate = _fade(share, gap.linear, gap.linear_rate)
    values, linear = values + left, rates.linear + rate
    turning = np.array(rates.turning)
    for i, part in enumerate(layout.of_kind(POSE)):
        turn, turn_rate = _fade(share, gap.turns[i], gap.turn_rates[i])
        values[:, part.rotation] = turned(values[:, part.rotation], turn)
        turning[:, i] = left_jacobian(turn, turn_rate) + _rotate(turn, rates.turning[:, i])
    return values, ActionRates(linear, turning)


def left_jacobian(turn: Array, rate: Array) -> Array:
    """Angular velocity while a rotation vector float64[..., 3] changes at rate; base axes."""
    angle = length(turn)
    safe = np.maximum(angle, SMALL)
    once, twice = cross(turn, rate), cross(turn, cross(turn, rate))
    first = np.where(angle < SMALL, 0.5, (1.0 - np.cos(safe)) / safe**2)
    second = np.where(angle < SMALL, 1.0 / 6.0, (safe - np.sin(safe)) / safe**3)
    spin: Array = rate + first * once + second * twice
    return spin


def inverse_left_jacobian(turn: Array, spin: Array) -> Array:
    """Rate of change of a rotation vector float64[..., 3] under an angular velocity; base axes."""
    angle = length(turn)
    safe = np.maximum(angle, SMALL)
    once, twice = cross(turn, spin), cross(turn, cross(turn, spin))
    half = 0.5 * safe
    exact = (1.0 - half / np.tan(half)) / safe**2
    rate: Array = spin - 0.5 * once + np.where(angle < SMALL, 1.0 / 12.0, exact) * twice
    return rate


def _slopes(steps: Array) -> Array:
    """Slopes float64[n + 1, ...] at the knots from the steps float64[n, ...] between them."""
    slopes = np.zeros((len(steps) + 1, *steps.shape[1:]))
    before, after = steps[:-1], steps[1:]
    same = before * after > 0.0
    total = np.where(same, before + after, 1.0)
    slopes[1:-1] = np.where(same, 2.0 * before * after / total, 0.0)
    if len(steps) > 1:  # a policy that continues the plan does not know knot 0, the arm's position
        slopes[1] = steps[1]
    return slopes


def _hermite(
    s: Array | np.float64, way: Array, slope_a: Array, slope_b: Array
) -> tuple[Array, Array]:
    """Value from 0 to way and rate, at s of a segment with these slopes at its ends."""
    s2, s3 = s * s, s * s * s
    value = (s3 - 2 * s2 + s) * slope_a + (3 * s2 - 2 * s3) * way + (s3 - s2) * slope_b
    rate = (3 * s2 - 4 * s + 1) * slope_a + (6 * s - 6 * s2) * way + (3 * s2 - 2 * s) * slope_b
    return value, rate


def _fade(share: float, gap: Array, gap_rate: Array) -> tuple[Array, Array]:
    """The rest, and its rate, of a gap that vanishes with its rate at share 1."""
    value, rate = _hermite(np.float64(share), -gap, gap_rate, np.zeros_like(gap))
    return gap + value, rate


def _rotate(turn: Array, vector: Array) -> Array:
    q = rotvec_to_quaternion(turn)
    pure = np.concatenate((vector, np.zeros((*vector.shape[:-1], 1))), axis=-1)
    back = q * np.array([-1.0, -1.0, -1.0, 1.0])
    return quaternion_multiply(quaternion_multiply(q, pure), back)[..., :3]
