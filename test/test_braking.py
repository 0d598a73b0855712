"""Trajectories of one setpoint: through it, to rest, inside the range, as a controller wants them."""

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits
from vla_policy.execution.braking import REST_NS, braking, joint_way
from vla_policy.layout import JOINTS, Part

LEAD_NS = 40_000_000


def way_of(target, velocity, acceleration=5.0, lower=-1.0, upper=1.0):
    n = len(target)
    return braking(
        np.array(target, float),
        np.array(velocity, float),
        acceleration=np.full(n, acceleration),
        lower=np.full(n, lower),
        upper=np.full(n, upper),
        lead_ns=LEAD_NS,
    )


def cubic(way, segment, share):
    """Position between two points, the way a controller interpolates them."""
    t = (way.times_ns[segment + 1] - way.times_ns[segment]) / 1e9
    p0, p1 = way.positions[segment], way.positions[segment + 1]
    v0, v1 = way.velocities[segment] * t, way.velocities[segment + 1] * t
    s = share
    return ((2 * s**3 - 3 * s**2 + 1) * p0 + (s**3 - 2 * s**2 + s) * v0
            + (3 * s**2 - 2 * s**3) * p1 + (s**3 - s**2) * v1)  # fmt: skip


def test_a_standing_robot_stays():
    way = way_of([0.1, -0.2], [0.0, 0.0])
    assert way.times_ns == (LEAD_NS, 2 * LEAD_NS, REST_NS)
    assert np.array_equal(way.positions, np.tile([0.1, -0.2], (3, 1)))
    assert not way.velocities.any()


def test_it_brakes_with_the_limit_and_all_joints_stop_together():
    way = way_of([0.0, 0.0], [1.0, -0.5])
    stop_s = (way.times_ns[1] - way.times_ns[0]) / 1e9
    assert stop_s == pytest.approx(1.0 / 5.0)
    assert way.positions[1] == pytest.approx([0.5 * 1.0 * stop_s, -0.5 * 0.5 * stop_s])
    # A cubic of these ends is a parabola: the deceleration is the same all along.
    for share in (0.25, 0.5, 0.75):
        time_s = share * stop_s
        assert cubic(way, 0, share)[0] == pytest.approx(time_s - 2.5 * time_s**2)


@pytest.mark.parametrize("seed", range(5))
def test_any_setpoint_gives_a_way_inside_the_range_that_ends_at_rest(seed):
    rng = np.random.default_rng(seed)
    for _ in range(400):
        n = int(rng.integers(1, 8))
        lower, upper = -rng.uniform(0.01, 3), rng.uniform(0.01, 3)
        target = rng.uniform(lower, upper, n)
        target[rng.random(n) < 0.2] = upper
        way = way_of(target, rng.normal(0, 3, n), rng.uniform(0.1, 30), lower, upper)
        assert np.all(np.diff((0, *way.times_ns)) > 0)
        assert way.times_ns[-1] >= REST_NS
        assert not way.velocities[1:].any()
        assert np.array_equal(way.positions[0], target)
        for share in np.linspace(0, 1, 9):
            between = cubic(way, 0, share)
            assert np.all(between >= lower - 1e-9) and np.all(between <= upper + 1e-9)


def test_the_way_of_joints_keeps_their_speed_their_range_and_two_periods():
    limits = GroupLimits(
        joint_speed_per_s=np.array([1.0, 1.0]), joint_acceleration_per_s2=np.array([5.0, 10.0])
    )
    part = Part(
        "arm", JOINTS, slice(0, 2), ("a", "b"), limits,
        joints=(0, 1), lower=np.array([-1.0, -1.0]), upper=np.array([0.05, 1.0]),
    )  # fmt: skip
    way = joint_way(part, np.array([0.0, 0.5]), np.array([0.5, -3.0]), 20_000_000)
    # 1 rad/s of the second joint at most; the first one takes 0.1 s, and as long as the second.
    assert way.times_ns == (40_000_000, 140_000_000, 500_000_000)
    assert way.velocities[0] == pytest.approx([0.5, -1.0])
    assert way.positions == pytest.approx(np.array([[0.0, 0.5], [0.025, 0.45], [0.025, 0.45]]))
    # A joint that stands beyond its range stays there; its range is no reason to move.
    out = joint_way(part, np.array([0.2, -1.5]), np.array([0.3, -0.3]), 20_000_000)
    assert out.positions[1] == pytest.approx([0.2, -1.5])
    assert out.velocities[0] == pytest.approx([0.0, 0.0])
    # Towards its end at full speed it brakes before it.
    near = joint_way(part, np.array([0.04, 0.0]), np.array([1.0, 0.0]), 20_000_000)
    assert near.positions[1] == pytest.approx([0.05, 0.0])
    assert near.velocities[0] == pytest.approx([3.0 * 0.01 / 0.2, 0.0])


def test_a_long_way_to_rest_is_followed_by_a_rest():
    way = way_of([0.0], [4.0], acceleration=5.0)
    assert way.times_ns == (40_000_000, 840_000_000, 880_000_000)
