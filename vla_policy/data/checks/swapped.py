"""Cameras that changed places between episodes, told by the mean images of the episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from vla_policy.data.checks.episode_data import EpisodeReport
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.types import Array

MARGIN = 0.6  # times the distance as named, at most, of the other order
MOST = 5  # cameras whose orders are all tried


def check_swapped(reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    """Episodes whose cameras stand in another order than in most others.

    Each episode is compared with the one that is most like all; the order that most have is the right one.
    """
    names = _cameras(reports)
    if len(names) < 2:
        return
    seen = [r for r in reports if all(c in r.cameras for c in names)]
    if len(seen) < 2:
        return
    marks = np.array([[r.cameras[c].signature for c in names] for r in seen], np.float64)
    marks = marks.reshape(len(seen), len(names), -1)
    pivot = _pivot(marks)
    orders = [_order(marks[pivot], each) for each in marks]
    usual = Counter(orders).most_common(1)[0][0]
    if orders.count(usual) * 2 == len(orders):  # of two alike, the first are right
        usual = orders[0]
    for report, order in zip(seen, orders, strict=True):
        if order != usual:
            # order[i] is the camera of the pivot that i of this episode looks like
            wrong = [i for i in range(len(names)) if order[i] != usual[i]]
            which = " and ".join(names[i] for i in wrong)
            yield fault(
                "swapped_cameras",
                f"the images of cameras {which} are exchanged, compared with most other episodes",
                "Delete the episode, or record it again with the cameras named as in the others",
                episode=report.episode,
                frame=0,
            )


def _cameras(reports: Sequence[EpisodeReport]) -> tuple[str, ...]:
    found = Counter(c for r in reports for c in r.cameras)
    return tuple(c for c, n in found.items() if 2 * n > len(reports))[:MOST]


def _distances(a: Array, b: Array) -> Array:
    """float64[c, c]: between each camera of a and each of b, free of the light of the day."""
    left, right = (m - m.mean(-1, keepdims=True) for m in (a, b))
    return np.asarray(np.abs(left[:, None] - right[None]).mean(-1))


def _pivot(marks: Array) -> int:
    """The episode that is most like all others, whatever the order of its cameras."""
    sample = marks if len(marks) <= 64 else marks[:: -(-len(marks) // 64)]
    step = 1 if len(marks) <= 64 else -(-len(marks) // 64)
    far = [sum(float(_distances(a, b).min(0).sum()) for b in sample) for a in sample]
    return int(np.argmin(far)) * step


def _order(pivot: Array, other: Array) -> tuple[int, ...]:
    """For each camera of other, that of pivot which it shows; as named unless another order fits far better."""
    far = _distances(pivot, other)
    count = len(far)
    named = tuple(range(count))

    def cost(order: tuple[int, ...]) -> float:
        return float(sum(far[order[i], i] for i in range(count)))

    best = min(permutations(named), key=cost)
    moved = [i for i in named if best[i] != i]
    if not moved:
        return named
    as_named = sum(float(far[i, i]) for i in moved)
    instead = sum(float(far[best[i], i]) for i in moved)
    return best if instead < MARGIN * as_named else named
