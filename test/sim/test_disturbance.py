"""Errors with which the twin follows its commands."""

import numpy as np
import pytest

from vla_policy.sim.disturbance import (
    DRIVE_SIGMA,
    LOWEST_M,
    MOST,
    ROW_STEPS,
    SIGMAS,
    Disturbance,
    share_at,
)

HIGH = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
LARGEST = MOST * max(SIGMAS) * 0.035


def errors_of(seed, steps=100, speed_m=0.001, at=HIGH, arm=0, arms=1):
    """float64[steps, 3]: the errors of an arm whose command moves along y by speed_m in a step."""
    found = Disturbance(seed, arms)
    errors = []
    for number in range(steps):
        told = at + np.array([0.0, speed_m * number, *[0.0] * 5])
        found.step(dict.fromkeys(range(arms), told))
        errors.append(found.pose(told, at[2], arm)[:3] - told[:3])
    return np.array(errors)


def test_some_scenes_are_without_errors_and_others_stay_within_bounds():
    largest = [np.abs(errors_of(seed)).max() for seed in range(30)]
    assert 0.0 in largest and 0.01 < max(largest) <= LARGEST
    assert len({round(x, 6) for x in largest}) > 5


def test_a_scene_has_the_same_errors_again_and_another_scene_others():
    seed = next(s for s in range(30) if Disturbance(s, 1).disturbs)
    assert np.array_equal(errors_of(seed), errors_of(seed))
    others = [errors_of(s) for s in range(seed + 1, 30)]
    assert not any(np.array_equal(errors_of(seed), o) for o in others)


def test_errors_change_on_straight_lines_without_a_jump():
    steps = np.concatenate(
        [np.zeros((1, 3)), errors_of(next(s for s in range(30) if Disturbance(s, 1).disturbs))]
    )
    moved = np.diff(steps, axis=0)
    assert np.abs(moved).max() <= 2 * LARGEST / ROW_STEPS
    within = moved.reshape(-1, ROW_STEPS, 3)
    assert np.abs(within - within[:, :1]).max() < 1e-12


def test_an_arm_whose_command_does_not_move_stands_within_a_row():
    seed = next(s for s in range(30) if Disturbance(s, 1).disturbs)
    assert not errors_of(seed, speed_m=0.0).any()
    found = Disturbance(seed, 2)
    going, standing = HIGH.copy(), HIGH.copy()
    for _ in range(3 * ROW_STEPS):
        going[1] += 0.001
        found.step({0: going.copy(), 1: standing})
    assert not np.array_equal(found.pose(going, going[2], 0), going)
    assert np.array_equal(found.pose(standing, standing[2], 1), standing)
    for _ in range(2 * ROW_STEPS):
        found.step({0: going, 1: standing})
    assert np.array_equal(found.pose(going, going[2], 0), going)


def test_near_the_table_errors_are_small_and_lower_no_tool_into_it():
    assert share_at(0.3) == 1.0 and share_at(0.0) == 0.25 and share_at(0.05) == pytest.approx(0.5)
    low = np.array([0.3, 0.0, LOWEST_M, 0.0, 0.0, 0.0, 1.0])
    every = np.concatenate([errors_of(seed, at=low) for seed in range(30)])
    assert every[:, 2].min() == 0.0 and every[:, 2].max() > 0.0
    assert np.abs(every).max() <= 0.25 * LARGEST + 1e-12
    under = low - np.array([0, 0, 0.01, 0, 0, 0, 0])  # commanded so low: it is not lifted
    assert min(errors_of(seed, at=under)[:, 2].min() for seed in range(5)) == 0.0


def test_two_arms_and_the_base_have_errors_of_their_own():
    seed = next(s for s in range(30) if errors_of(s, arms=2).any())
    assert not np.array_equal(errors_of(seed, arms=2), errors_of(seed, arms=2, arm=1))
    found = Disturbance(seed, 2)
    found.step({0: HIGH, 1: HIGH})
    assert found.drive((0.0, 0.0)) == (0.0, 0.0)
    driven = np.array(found.drive((0.2, 0.1))) - (0.2, 0.1)
    assert driven.any() and (np.abs(driven) <= MOST * max(SIGMAS) * DRIVE_SIGMA).all()
