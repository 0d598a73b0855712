"""Two policies on the same trials: their difference and its significance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_policy.evaluate.metrics import wilson
from vla_policy.types import Array

RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class PairedOutcome:
    """Counts of the same trials tried by a first and a second policy."""

    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def trials(self) -> int:
        """All of them."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first minus that of the second."""
        return (self.first_only - self.second_only) / self.trials


def paired(first: Sequence[bool], second: Sequence[bool]) -> PairedOutcome:
    """Success of the same trials in the same order.

    Raises ValueError for none or unequal numbers.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"paired: got {len(first)} and {len(second)} trials, expected the same number, at least 1"
        )
    pairs = list(zip(map(bool, first), map(bool, second), strict=True))
    return PairedOutcome(
        *(pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False)))
    )  # fmt: skip


def mcnemar(outcome: PairedOutcome) -> float:
    """Exact two-sided p of McNemar's test, from the trials that only one of them solves.

    >>> mcnemar(PairedOutcome(10, 5, 0, 5))
    0.0625
    """
    n, k = outcome.first_only + outcome.second_only, min(outcome.first_only, outcome.second_only)
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return float(min(1.0, 2.0 * tail / 2**n))


def difference_interval(outcome: PairedOutcome) -> tuple[float, float]:
    """95 % interval of the difference of the rates: Wilson intervals joined for pairs.

    Source: Newcombe 1998 (Statistics in Medicine 17, 2635-2650), method 10. Its width is never
    zero, unlike a bootstrap's if the two always agree.
    """
    a, b, c, d = outcome.both, outcome.first_only, outcome.second_only, outcome.neither
    n = outcome.trials
    first, second = (a + b) / n, (a + c) / n
    (low1, high1), (low2, high2) = wilson(a + b, n), wilson(a + c, n)
    product = (a + b) * (c + d) * (a + c) * (b + d)
    excess = float(a * d - b * c)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    phi = excess / math.sqrt(product) if product else 0.0
    below = _joined(first - low1, high2 - second, phi)
    above = _joined(high1 - first, second - low2, phi)
    difference = outcome.difference
    return max(-1.0, difference - below), min(1.0, difference + above)


def mean_difference(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of first - second over the same trials, and its 95 % interval by resampling trials with replacement.

    Raises ValueError as paired does.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"mean_difference: got {len(first)} and {len(second)} trials, expected the same number, at least 1"
        )
    gaps: Array = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    chosen = np.random.default_rng(seed).integers(len(gaps), size=(RESAMPLES, len(gaps)))
    low, high = np.percentile(gaps[chosen].mean(axis=1), (2.5, 97.5))
    return float(gaps.mean()), float(low), float(high)


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))
