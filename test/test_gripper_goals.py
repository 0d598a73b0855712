"""A gripper that is commanded by goals: settled values become goals, chatter does not."""

from itertools import pairwise

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
