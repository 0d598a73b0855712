"""Each limit alone: tables with numbers that were worked out by hand, and two properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.execution.stopping_trajectory import braking
from vla_policy.safety.limits import (
    acceleration_ratio,
    clamp_box,
    crosses_box,
    joint_acceleration_ratio,
    joint_speed_ratio,
    limit_scalar,
    limit_vector,
    not_finite,
    speed_ratio,
    stopping_ratio,
)

LOWER, UPPER = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
MIDDLE = [1.5, 3.0, 4.5]


def test_not_finite_names_each_value_that_is_none():
    values = np.array([0.0, np.nan, 1e308, -np.inf])
    assert not_finite(values, ("a", "b", "c", "d")) == ("b", "d")
    assert not_finite(values[:1], ("a",)) == ()
    with pytest.raises(ValueError, match="zip"):
        not_finite(values, ("a",))


def test_clamp_box_moves_to_the_edge_and_says_how_far():
    inside, beyond = clamp_box(np.array([0.25, 4.5, 5.0]), LOWER, UPPER)
    assert inside.tolist() == [1.0, 4.0, 5.0]
    assert beyond.tolist() == [0.75, 0.5, 0.0]


@pytest.mark.parametrize(
    ("start", "end", "crosses"),
    [
        (MIDDLE, MIDDLE, True),
        ([0, 0, 0], MIDDLE, True),  # ends inside
        ([0, 0, 0], [1, 2, 3], True),  # ends on a corner
        (MIDDLE, [0, 0, 0], False),  # leads out
        ([1, 2, 3], [0, 0, 0], False),  # leads out from a corner
        (MIDDLE, [1, 3, 4.5], True),  # ends on a face, from inside
        (MIDDLE, [1.5, 4, 4.5], True),
        ([2, 4, 6], [3, 5, 7], False),  # leads out from the other corner
        ([1.5, 4, 4.5], [1.5, 5, 4.5], False),  # and from a face
        (MIDDLE, [1.6, 3.1, 4.6], True),  # out of nothing: ends inside
        ([0, 3, 4.5], [3, 3, 4.5], True),  # straight through, along x
        ([3, 3, 4.5], [0, 3, 4.5], True),  # and back
        ([0, 3, 4.5], [0.9, 3, 4.5], False),  # stops before
        ([2.1, 3, 4.5], [3, 3, 4.5], False),  # begins behind
        ([0, 1.9, 4.5], [3, 1.9, 4.5], False),  # passes by, parallel to a face
        ([0, 4.1, 4.5], [3, 4.1, 4.5], False),
        ([0, 2, 4.5], [3, 2, 4.5], True),  # along a face
        ([0, 4, 6], [3, 4, 6], True),  # along an edge
        ([1.5, 3, 0], [1.5, 3, 9], True),  # along z
        ([1.5, 3, 0], [1.5, 3, 2.9], False),
        ([1.5, 0, 4.5], [1.5, 9, 4.5], True),  # along y
        # In the plane z = 4.5: y = 2 is reached at x = 1.5, so it cuts the corner off; at x = 2.5 not.
        ([0.5, 1, 4.5], [3.5, 4, 4.5], True),
        ([1.5, 1, 4.5], [3.5, 3, 4.5], False),
        ([1, 1, 4.5], [3, 3, 4.5], True),  # through the edge x = 2, y = 2 alone
        ([0, 0, 0], [3, 6, 9], True),  # through two opposite corners
        ([0, 0, 3], [3, 6, 12], True),  # through the corner (1, 2, 6) alone
        ([0, 0, 3.1], [3, 6, 12.1], False),  # above it
    ],
)  # fmt: skip
def test_crosses_box(start, end, crosses):
    start, end = np.array(start, float), np.array(end, float)
    with np.errstate(all="raise"):  # a way along an axis is no division by zero
        assert crosses_box(start, end, LOWER, UPPER) is crosses


points = st.tuples(*[st.floats(-3.0, 9.0)] * 3).map(np.array)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@settings(max_examples=200, deadline=None)
@given(points, points)
def test_crosses_box_agrees_with_a_walk_along_the_way(start, end):
    way = start + np.linspace(0.0, 1.0, 2001)[:, None] * (end - start)
    deep = ((way >= LOWER) & (way <= UPPER)).all(axis=1)
    near = ((way >= LOWER - 0.02) & (way <= UPPER + 0.02)).all(axis=1)
    if deep[0] and not deep[-1]:
        assert not crosses_box(start, end, LOWER, UPPER)
    elif deep.any():
        assert crosses_box(start, end, LOWER, UPPER)
    elif not near.any():
        assert not crosses_box(start, end, LOWER, UPPER)


@pytest.mark.parametrize(
    ("step", "speed", "dt_s", "ratio"),
    [
        ([3, 4], 5.0, 1.0, 1.0),  # exactly what is allowed
        ([3, 4], 10.0, 0.5, 1.0),
        ([3, 4], 2.5, 1.0, 0.5),
        ([3, 4], 5.0, 0.1, 0.1),
        ([0, 0], 0.0, 1.0, 1.0),
        ([3, 4], 0.0, 1.0, 0.0),
        ([3, 4], 1.0, 0.0, 0.0),
    ],
)
def test_speed_ratio(step, speed, dt_s, ratio):
    assert speed_ratio(np.array(step, float), speed, dt_s) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("step", "velocity", "acceleration", "dt_s", "ratio"),
    [
        # From rest: 2 m/s^2 for 0.5 s give 1 m/s, of the 4 m/s that 2 m in 0.5 s would take.
        ([2, 0], [0, 0], 2.0, 0.5, 0.25),
        ([2, 0], [3, 0], 2.0, 0.5, 1.0),  # 3 m/s and 1 m/s more are all of it
        ([2, 0], [2, 0], 2.0, 0.5, 0.75),
        ([0, 2], [0, 2], 2.0, 0.5, 0.75),
        # Braking is not limited: 1 m/s is wanted, 4 m/s are gone.
        ([0.5, 0], [4, 0], 2.0, 0.5, 1.0),
        ([-2, 0], [0.5, 0], 2.0, 0.5, 0.125),  # turned round within the change: -0.5 m/s
        ([-2, 0], [4, 0], 2.0, 0.5, 0.0),  # not within it: stop first
        # Across: 0.6 m/s before, 1 m/s change, so 0.8 m/s of 4 m/s sideways.
        ([2, 0], [0, 0.6], 2.0, 0.5, 0.2),
        ([2, 0], [0, 5], 2.0, 0.5, 0.0),  # too fast to turn: the least change
        # At (2, 1.5) m/s with hardly any change: 2 of 4 m/s along the way changes least.
        ([2, 0], [2, 1.5], 0.2, 0.5, 0.5),
        ([0, 0], [3, 0], 2.0, 0.5, 1.0),
        ([2, 0], [0, 0], 2.0, 0.0, 0.0),
        ([2, 0], [0, 0], 2.0, -1.0, 0.0),
    ],
)
def test_acceleration_ratio(step, velocity, acceleration, dt_s, ratio):
    step, velocity = np.array(step, float), np.array(velocity, float)
    found = acceleration_ratio(step, velocity, acceleration, dt_s)
    assert found == pytest.approx(ratio)
    assert isinstance(found, float)


steps = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(np.array)


@settings(max_examples=200, deadline=None)
@given(steps, steps, st.floats(0.1, 10.0), st.floats(0.01, 0.5))
def test_no_share_is_better_than_the_acceleration_ratio(step, velocity, acceleration, dt_s):
    """Against all shares in hundredths: a larger one changes the velocity too much, or there is none."""
    found = acceleration_ratio(step, velocity, acceleration, dt_s)
    shares = np.linspace(0.0, 1.0, 101)
    changes = np.linalg.norm(shares[:, None] * step / dt_s - velocity, axis=1)
    change = float(np.linalg.norm(found * step / dt_s - velocity))
    allowed = changes <= acceleration * dt_s
    if allowed.any():
        # All of it counts as allowed where it brakes; else the change is kept.
        assert found >= shares[allowed].max() - 1e-6
        assert found == 1.0 or change <= acceleration * dt_s + 1e-6
    elif np.linalg.norm(step) > 1e-6:
        assert change <= changes.min() + 1e-6


def test_joint_speed_ratio_is_that_of_the_slowest_joint():
    limits = np.array([1.0, 2.0, 4.0])
    assert joint_speed_ratio(np.array([0.5, -1.0, 2.0]), limits, 0.5) == 1.0
    assert joint_speed_ratio(np.array([0.5, -4.0, 2.5]), limits, 0.5) == pytest.approx(0.25)
    assert joint_speed_ratio(np.array([0.5, -1.0, 8.0]), limits, 0.5) == pytest.approx(0.25)
    assert joint_speed_ratio(np.array([0.0, 0.0, 0.0]), limits, 0.0) == 1.0


def test_joint_acceleration_ratio_is_that_of_the_slowest_joint():
    limits = np.array([2.0, 4.0])
    step, still = np.array([1.0, 1.0]), np.zeros(2)
    assert joint_acceleration_ratio(step, still, limits, 0.5) == pytest.approx(0.5)
    assert joint_acceleration_ratio(step * [1, 8], still, limits, 0.5) == pytest.approx(0.125)
    moving = np.array([2.0, 0.0])  # the first joint is as fast as it is to be
    assert joint_acceleration_ratio(step, moving, limits, 0.5) == pytest.approx(1.0)
    assert joint_acceleration_ratio(step * [1, 2], moving, limits, 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("target", "previous", "value"),
    [(1.0, 0.0, 0.25), (-1.0, 0.0, -0.25), (0.2, 0.0, 0.2), (2.1, 2.0, 2.1), (1.0, 2.0, 1.75)],
)
def test_limit_scalar(target, previous, value):
    assert limit_scalar(target, previous, 0.25) == pytest.approx(value)


def test_limit_vector_goes_straight_and_arrives_exactly():
    previous, target = np.array([1.0, 1.0]), np.array([4.0, 5.0])
    assert limit_vector(target, previous, 2.5) == pytest.approx([2.5, 3.0])
    arrived = limit_vector(target, previous, 5.0)
    assert arrived.tolist() == [4.0, 5.0]
    assert arrived is not target
    far = np.array([1e16, 1.0])  # where the sum of two steps is not where they lead
    assert limit_vector(target, far, 1e17).tolist() == [4.0, 5.0]
    assert limit_vector(target, previous, 0.0).tolist() == [1.0, 1.0]


def test_limit_vector_has_no_rounding_where_it_arrives():
    target, previous = np.array([0.1]), np.array([30.0])
    assert previous + (target - previous) != target
    assert limit_vector(target, previous, 40.0).tolist() == [0.1]


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(
    ("nearest", "crosses"), [(0.0, True), (0.5, True), (0.9, True), (1.0, True), (1.001, False)]
)
def test_a_thin_box_anywhere_on_the_way_is_crossed(axis, nearest, crosses):
    """From the first to the last point of the way, which ends behind or in it."""
    way = np.eye(3)[axis]
    lower, upper = -np.ones(3), np.ones(3)
    lower[axis], upper[axis] = nearest, nearest + 0.01
    assert crosses_box(np.zeros(3) - 1e-9 * way, way, lower, upper) is crosses
    beside = np.roll(way, 1) * 1.5
    assert not crosses_box(beside, way + beside, lower, upper)


def test_the_stopping_ratio_is_the_largest_behind_which_nothing_is_cut():
    """Against the way to rest itself: no velocity is cut and no end clipped; with a hundredth more one is."""
    rng, below_one, lead_ns = np.random.default_rng(3), 0, 40_000_000
    for k in range(400):
        dt_s, brakes = 0.02, rng.uniform(1.0, 10.0, 3)
        step, room = rng.normal(size=3) * 0.02, 10.0 ** rng.uniform(-3.0, -0.5, 3)
        step[k % 3] *= k % 2  # a joint that does not move has no say
        ratio = stopping_ratio(step, room, brakes, dt_s, lead_ns / 1e9)
        assert 0.0 <= ratio <= 1.0

        def cut(share, step=step, room=room, brakes=brakes, dt_s=dt_s):
            velocity, signs = share * step / dt_s, np.where(step < 0.0, -1.0, 1.0)
            way = braking(
                share * step, velocity, acceleration=brakes, lead_ns=lead_ns,
                lower=np.where(signs < 0.0, -room, -9.0), upper=np.where(signs > 0.0, room, 9.0),
            )  # fmt: skip
            beyond = share * np.abs(step) + 0.5 * np.max(np.abs(velocity) / brakes) * np.abs(
                velocity
            )
            return (way.velocities[0] != velocity).any() or (beyond > room * (1 + 1e-9)).any()

        below_one += ratio < 1.0
        assert not cut(ratio * (1 - 1e-9))
        assert ratio == 1.0 or cut(1.01 * ratio)
    assert 100 < below_one < 390


@pytest.mark.parametrize(
    ("step", "dt_s", "ratio"),
    [
        ([0.0, 0.0], 0.02, 1.0),
        ([0.1, 0.0], 0.0, 1.0),
        # With 10 rad/s^2: 1 rad/s for 0.02 s and to rest in 0.05 rad are all the room that there is.
        ([0.02, 0.0], 0.02, 1.0),
        ([0.0, -0.04], 0.02, 0.5),
        ([0.04, 0.001], 0.02, 0.5),
    ],
)
def test_stopping_ratio_by_hand(step, dt_s, ratio):
    room, brakes = np.array([0.07, 0.07]), np.array([10.0, 10.0])
    found = stopping_ratio(np.array(step), room, brakes, dt_s, 0.0)
    assert found == pytest.approx(ratio)


def test_without_time_nothing_is_cut():
    assert stopping_ratio(np.array([0.1]), np.array([0.001]), np.array([10.0]), 0.0, 0.04) == 1.0
