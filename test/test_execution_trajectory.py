"""Whole trajectories for a JointTrajectoryController: times, limits, rest, and no jump where one replaces another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.execution.trajectory import Bounds, Trajectory, trajectory

BOUNDS = Bounds(
    lower=np.array([-1.0, -2.0]),
    upper=np.array([1.0, 0.5]),
    speed=np.array([1.0, 2.0]),
    acceleration=np.array([4.0, 10.0]),
)
PERIOD_NS = 20_000_000
values = st.floats(-5.0, 5.0)
targets = st.lists(st.tuples(values, values), min_size=1, max_size=40).map(np.array)


def as_controllers_do(line: Trajectory, count: int = 7):
    """Positions, velocities, accelerations between the points by JTC's cubic, float64[m, j] each."""
    out = []
    for k in range(len(line.times_ns) - 1):
        t = (line.times_ns[k + 1] - line.times_ns[k]) / 1e9
        p, q, v, w = (
            line.positions[k], line.positions[k + 1], line.velocities[k], line.velocities[k + 1],
        )  # fmt: skip
        a2 = (3 * (q - p) - (2 * v + w) * t) / t**2
        a3 = (2 * (p - q) + (v + w) * t) / t**3
        for s in np.linspace(0.0, t, count):
            out.append(
                (
                    p + v * s + a2 * s**2 + a3 * s**3,
                    v + 2 * a2 * s + 3 * a3 * s**2,
                    2 * a2 + 6 * a3 * s,
                )
            )
    return (np.stack(x) for x in zip(*out, strict=True))


def assert_sound(line: Trajectory):
    assert line.times_ns[0] == 0 and (np.diff(line.times_ns) > 0).all()
    assert (line.velocities[-1] == 0.0).all()
    positions, velocities, accelerations = as_controllers_do(line)
    assert (positions >= BOUNDS.lower - 1e-9).all() and (positions <= BOUNDS.upper + 1e-9).all()
    assert (np.abs(velocities) <= BOUNDS.speed + 1e-9).all()
    assert (np.abs(accelerations) <= BOUNDS.acceleration + 1e-6).all()


@settings(max_examples=200, deadline=None)
@given(targets, st.tuples(st.floats(-1.0, 1.0), st.floats(-2.0, 0.5)))
def test_any_targets_give_a_motion_within_limits_that_ends_at_rest(wanted, start):
    line = trajectory(wanted, np.array(start), np.zeros(2), period_ns=PERIOD_NS, bounds=BOUNDS)
    assert line.positions[0] == pytest.approx(start)
    assert_sound(line)


@settings(max_examples=150, deadline=None)
@given(targets, targets, st.integers(1, 30))
def test_one_trajectory_replaces_another_without_a_jump(first, second, cut):
    """The second begins with the state of the first where it is cut, and is sound as well."""
    line = trajectory(first, np.zeros(2), np.zeros(2), period_ns=PERIOD_NS, bounds=BOUNDS)
    cut = min(cut, len(line.times_ns) - 1)
    new = trajectory(
        second, line.positions[cut], line.velocities[cut], period_ns=PERIOD_NS, bounds=BOUNDS
    )
    assert (new.positions[0] == line.positions[cut]).all()
    assert (new.velocities[0] == line.velocities[cut]).all()
    assert_sound(new)


def test_a_motion_within_limits_is_followed():
    time_s = 0.02 * np.arange(1, 101)
    wanted = np.stack((0.3 * np.sin(2 * time_s), 0.2 - 0.2 * np.cos(3 * time_s)), axis=1)
    line = trajectory(
        wanted, np.zeros(2), np.array([0.6, 0.0]), period_ns=PERIOD_NS, bounds=BOUNDS
    )
    assert np.abs(line.positions[1:101] - wanted).max() < 0.002
    assert len(line.times_ns) > 101, "a way to rest follows"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        trajectory(
            np.array([[0.0, bad]]), np.zeros(2), np.zeros(2), period_ns=PERIOD_NS, bounds=BOUNDS
        )
