"""Trajectories of one setpoint: through it, to rest, inside the range, as a controller wants them."""

import numpy as np
import plain_motion as plain
import pytest

from vla_policy.embodiment import GroupLimits
from vla_policy.embodiment.layout import JOINTS, ActionPart
from vla_policy.execution.stopping_trajectory import REST_NS, at, braking, joint_way

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


def played(way, ns):
    """Position and velocity ns after the stamp, the way a controller interpolates between two points."""
    for k in range(2):
        begin, end = way.times_ns[k : k + 2]
        if begin <= ns <= end:
            ends = way.positions[k : k + 2], way.velocities[k : k + 2]
            span_s = (end - begin) / 1e9
            share = (ns - begin) / (end - begin)
            return plain.cubic(*ends[0], *ends[1], share, span_s)
    raise AssertionError(ns)


def cubic(way, segment, share):
    begin, end = way.times_ns[segment : segment + 2]
    return played(way, begin + share * (end - begin))[0]


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
    part = ActionPart(
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


@pytest.mark.parametrize("seed", range(10))
def test_where_a_controller_is_on_the_way_is_what_it_plays(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        way = way_of(rng.uniform(-1, 1, 3), rng.normal(0, 2, 3), rng.uniform(0.5, 20))
        first, stop, rest = way.times_ns
        for ns in (first, stop, rest, *rng.integers(first, rest, 10), (first + stop) // 2):
            position, velocity = at(way, int(ns))
            wanted, speed = played(way, int(ns))
            assert position == pytest.approx(wanted, abs=1e-12)
            assert velocity == pytest.approx(speed, abs=1e-9)
        # What comes before the first point is the setpoint's own; behind the last one it rests.
        assert np.array_equal(at(way, first - 1)[0], way.positions[0])
        assert np.array_equal(at(way, 0)[1], way.velocities[0])
        assert np.array_equal(at(way, rest + 10**12)[0], way.positions[2])
        assert not at(way, rest + 10**12)[1].any()


def test_it_takes_as_long_to_stop_in_either_direction():
    for velocity in ([2.0, -1.0], [-2.0, 1.0]):
        way = way_of([0.0, 0.0], velocity)
        assert way.times_ns[1] - way.times_ns[0] == pytest.approx(0.4e9)


@pytest.mark.parametrize("seed", range(5))
def test_a_joint_that_has_room_never_brakes_harder_than_its_limit(seed):
    """Measured on the velocity that is played, millisecond by millisecond."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        acceleration = rng.uniform(0.5, 20)
        way = way_of(rng.uniform(-1, 1, 3), rng.normal(0, 2, 3), acceleration, -100, 100)
        first, stop, _ = way.times_ns
        speeds = np.array([at(way, ns)[1] for ns in range(first, stop, 1_000_000)])
        assert np.all(np.abs(np.diff(speeds, axis=0)) <= acceleration * 1e-3 * (1 + 1e-6))


def test_times_are_whole_nanoseconds_as_a_message_wants_them():
    way = way_of([0.0], [1.0], acceleration=3.0)
    assert way.times_ns == (40_000_000, 40_000_000 + 333_333_333, 500_000_000)
    assert all(type(ns) is int for ns in way.times_ns)
