"""Which of several drawn chunks is followed."""

import numpy as np
import pytest

from vla_policy.models.candidates import chosen

RNG = np.random.default_rng(4)


def test_the_candidate_that_goes_on_as_the_plan_does_is_followed():
    plan = RNG.normal(size=(5, 3))
    drawn = RNG.normal(size=(6, 8, 3))
    drawn[4, :5] = plan + 0.01
    assert chosen(drawn, plan) == 4
    drawn[2, :5] = plan  # what comes behind the plan's end does not count
    drawn[2, 5:] = 100.0
    assert chosen(drawn, plan) == 2


def test_sooner_rows_weigh_more_and_a_longer_plan_is_cut():
    drawn = np.zeros((2, 4, 1))
    drawn[0, 0], drawn[1, 2:] = 1.0, 1.5  # 1 at once against 1.5 / 4 + 1.5 / 8 later
    assert chosen(drawn, np.zeros((9, 1))) == 1
    drawn[1, 2:] = 3.0
    assert chosen(drawn, np.zeros((9, 1))) == 0


def test_columns_that_the_plan_does_not_determine_do_not_count():
    drawn = np.zeros((2, 3, 2))
    drawn[0, :, 1], drawn[1, :, 0] = 50.0, 0.5
    assert chosen(drawn, np.zeros((3, 2))) == 1
    assert chosen(drawn, np.zeros((3, 2)), np.array([True, False])) == 0


@pytest.mark.parametrize("odd", [0, 3])
def test_without_a_plan_the_one_in_the_middle_is_followed(odd):
    middle = RNG.normal(size=(4, 2))
    drawn = np.stack([middle + step for step in (-1.0, 0.9, 0.0, 1.1, -0.8)])
    drawn[odd] += 40.0
    others = [i for i in range(5) if i != odd]
    apart = [sum(abs(drawn[i] - drawn[j]).sum() for j in range(5)) for i in others]
    assert chosen(drawn, None) == others[int(np.argmin(apart))]


def test_equal_candidates_are_the_first():
    drawn = np.ones((3, 2, 2))
    assert chosen(drawn, None) == chosen(drawn, np.zeros((2, 2))) == 0
