"""A gripper that is commanded by goals: settled values become goals, chatter does not."""

from itertools import pairwise
from statistics import median

import numpy as np
import pytest

from vla_policy.execution.gripper_goals import MIN_INTERVAL_NS, GripperGoals, want

TICK_NS = 20_000_000


def goals_of(openings, tick_ns=TICK_NS):
    state, found = GripperGoals(), []
    for i, opening in enumerate(openings):
        state, goal = want(state, float(opening), i * tick_ns)
        if goal is not None:
            found.append((i * tick_ns, goal))
    return found


def test_a_hand_that_closes_slowly_gets_one_goal_where_it_ends():
    """The guard lets an opening change gradually; the goals in between would stop the fingers."""
    openings = [1.0] * 20 + list(np.linspace(1.0, 0.0, 9)) + [0.0] * 50
    assert [goal for _, goal in goals_of(openings)] == [1.0, 0.0]


@pytest.mark.parametrize("period", [1, 2, 5, 10])
def test_a_chattering_hand_gets_a_bounded_number_of_goals(period):
    """Ten seconds of open, closed, open, closed, each for `period` ticks of 20 ms."""
    openings = [float(i // period % 2) for i in range(500)]
    found = goals_of(openings)
    # Shorter than it takes to settle: none after the first; longer: it is no chatter any more.
    assert len(found) <= (1 if period < 8 else 10.0 / 0.3 + 1)
    assert all(b[0] - a[0] >= MIN_INTERVAL_NS for a, b in pairwise(found))


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_value_is_one_goal_and_any_signal_is_slow_enough(seed):
    rng = np.random.default_rng(seed)
    assert len(goals_of(0.8 + rng.uniform(-0.015, 0.015, 500))) == 1
    found = goals_of(rng.uniform(0, 1, 500), tick_ns=int(rng.integers(1, 60)) * 1_000_000)
    assert len(found) <= 4
    assert all(b[0] - a[0] >= MIN_INTERVAL_NS for a, b in pairwise(found))


def test_real_changes_come_through_soon():
    found = goals_of([1.0] * 25 + [0.0] * 25 + [1.0] * 25)
    assert [goal for _, goal in found] == [1.0, 0.0, 1.0]
    assert found[1][0] - 25 * TICK_NS <= 200_000_000


def test_a_value_that_never_settles_is_followed_by_its_median():
    openings = 0.2 + 0.6 * (np.sin(np.arange(200) / 3.0) > 0.9)
    found = goals_of([1.0] * 20 + list(openings))
    assert found[-1][1] == pytest.approx(0.2)


def test_a_clock_that_goes_back_forgets_and_goes_on():
    state, _ = want(GripperGoals(), 1.0, 10_000_000_000)
    for i in range(10):
        state, goal = want(state, 0.0, i * TICK_NS)
        if goal is not None:
            break
    assert goal == 0.0


def plainly(samples):
    """The goals, one or None for each (stamp in ms, value): looks at all that was ever said, each time anew."""
    goals, goal, goal_ms, begun = [], None, 0, 0
    for n, (now, last) in enumerate(samples):
        if n and now < samples[n - 1][0]:
            begun = n  # the clock went back: what was said before has no place in time
        recent = [(ms, value) for ms, value in samples[begun : n + 1] if now - ms <= 500]
        values = [value for _, value in recent]
        settled = any(
            now - ms >= 150 and all(abs(value - last) <= 0.03 for value in values[i:])
            for i, (ms, _) in enumerate(recent)
        )
        found = last if settled else None
        if not settled and now - recent[0][0] >= 450:
            above = goal is not None and all(value > goal + 0.1 for value in values)
            below = goal is not None and all(value < goal - 0.1 for value in values)
            found = median(values) if goal is None or above or below else None
        if found is not None and goal is not None:
            soon = 0 <= now - goal_ms < 300
            found = None if soon or abs(found - goal) <= 0.1 else found
        if found is not None:
            goal, goal_ms = found, now
        goals.append(found)
    return goals


def told(samples):
    state, goals = GripperGoals(), []
    for ms, value in samples:
        state, goal = want(state, value, ms * 1_000_000)
        goals.append(goal)
    return goals


@pytest.mark.parametrize("seed", range(30))
def test_any_signal_gives_the_goals_of_a_plain_reading(seed):
    """Values and times from the edges of the rules, held and chattering, with a clock that sometimes goes back."""
    rng = np.random.default_rng(seed)
    edges = (0.0, 0.03, 0.0301, 0.1, 0.11, 0.5, 0.89, 0.9, 0.97, 1.0)
    ticks = ((10,), (50,), (10, 20, 50, 90, 150), (0, 10, 60, 400, 500))[seed % 4]
    samples, now = [], 10_000
    choices = rng.choice(edges, 3)
    for _ in range(400):
        if rng.random() < 0.02:
            choices = rng.choice(edges, rng.integers(1, 5))
        if rng.random() < 0.005:
            now -= int(rng.choice((10, 50, 150, 450, 5000)))
        samples.append((now, float(rng.choice(choices))))
        now += int(rng.choice(ticks))
    assert told(samples) == plainly(samples)


@pytest.mark.parametrize(
    ("samples", "goals"),
    [
        # A value has settled at 150 ms, within 0.03 of where it is now.
        ([(0, 0.5), (149, 0.5), (150, 0.5)], [None, None, 0.5]),
        ([(0, 0.0), (100, 0.03), (150, 0.0)], [None, None, 0.0]),
        ([(0, 0.0), (100, 0.031), (150, 0.0)], [None, None, None]),
        # One that never settles: its median after 450 ms of the last 500.
        ([(0, 0.0), (449, 1.0)], [None, None]),
        ([(0, 0.0), (100, 0.4), (450, 1.0)], [None, None, 0.4]),
        # The next goal comes 300 ms after the last one, and is more than 0.1 away from it.
        ([(0, 0.0), (150, 0.0), (299, 1.0), (449, 1.0), (450, 1.0)], [None, 0.0, None, None, 1.0]),
        ([(0, 0.0), (150, 0.0), (400, 0.1), (550, 0.1)], [None, 0.0, None, None]),
        # A clock that goes back: what was said before counts no more, nor does what comes out to be later.
        ([(1000, 0.0), (0, 1.0), (150, 1.0)], [None, None, 1.0]),
        ([(1000, 0.0), (1150, 0.0), (1000, 1.0), (1150, 1.0)], [None, 0.0, None, None]),
        ([(1000, 0.0), (900, 0.0), (1049, 0.0), (1050, 0.0)], [None, None, None, 0.0]),
    ],
)
def test_the_moments_and_sizes_at_which_a_value_becomes_a_goal(samples, goals):
    assert told(samples) == goals == plainly(samples)
