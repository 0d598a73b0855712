"""Two policies on the same trials: against plain, slow definitions of the same numbers."""

from itertools import product

import numpy as np
import pytest

from vla_policy.evaluate.paired import (
    RESAMPLES,
    PairedOutcome,
    difference_interval,
    mcnemar,
    mean_difference,
    paired,
)


def slow_mcnemar(first_only: int, second_only: int) -> float:
    """Every way in which the trials that only one does could have fallen: how many are as uneven as what was seen."""
    n, seen = first_only + second_only, abs(first_only - second_only)
    ways = [abs(n - 2 * sum(way)) for way in product((0, 1), repeat=n)]
    return sum(uneven >= seen for uneven in ways) / len(ways)


def slow_mean_difference(first: list[float], second: list[float]) -> list[float]:
    """Sorted means of as many draws with replacement."""
    rng, n = np.random.default_rng(0), len(first)
    numbers = rng.integers(n, size=(RESAMPLES, n)).tolist()
    return sorted(sum(first[i] - second[i] for i in draw) / n for draw in numbers)


def test_counts_of_the_same_trials():
    outcome = paired([True, True, False, False, True], [True, False, True, False, False])
    assert outcome == PairedOutcome(both=1, first_only=2, second_only=1, neither=1)
    assert outcome.trials == 5 and outcome.difference == pytest.approx(0.2)


@pytest.mark.parametrize("counts", list(product(range(6), repeat=2)))
def test_p_is_that_of_all_ways_the_trials_could_have_fallen(counts):
    assert mcnemar(PairedOutcome(3, *counts, 2)) == pytest.approx(slow_mcnemar(*counts))


def test_the_mean_difference_is_that_of_plain_resampling():
    rng = np.random.default_rng(5)
    first = rng.normal(2.0, 1.0, 12).tolist()
    second = rng.normal(1.5, 1.0, 12).tolist()
    mean, low, high = mean_difference(first, second)
    slow = slow_mean_difference(first, second)
    at = [round(share * (RESAMPLES - 1)) for share in (0.025, 0.975)]
    assert mean == pytest.approx(sum(a - b for a, b in zip(first, second, strict=True)) / 12)
    assert (low, high) == pytest.approx([slow[i] for i in at], abs=5e-3)


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    rng = np.random.default_rng(1)
    for shares in ((0.5, 0.3, 0.1, 0.1), (0.9, 0.05, 0.02, 0.03), (0.2, 0.2, 0.2, 0.4)):
        held = 0
        for counts in rng.multinomial(30, shares, 600):
            low, high = difference_interval(PairedOutcome(*counts.tolist()))
            held += low <= shares[1] - shares[2] <= high
        assert held / 600 > 0.92


def test_the_interval_is_never_of_no_width_and_turns_with_its_policies():
    low, high = difference_interval(PairedOutcome(20, 0, 0, 0))
    assert low < -0.1 and high > 0.1
    low, high = difference_interval(PairedOutcome(5, 9, 2, 4))
    assert difference_interval(PairedOutcome(5, 2, 9, 4)) == pytest.approx((-high, -low))


@pytest.mark.parametrize("ask", [paired, mean_difference])
def test_trials_that_are_not_the_same_are_refused(ask):
    with pytest.raises(ValueError, match="got 2 and 1 trials, expected the same number"):
        ask([1, 0], [1])
    with pytest.raises(ValueError, match="at least 1"):
        ask([], [])
