"""Cameras that were swapped in some episodes, detected by the episodes' mean images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np

from vla_policy.data.checks.episode_data import EpisodeReport
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.types import Array

MARGIN = 0.6  # largest distance in the other order, relative to the order as named
MANY = 5  # least number of episodes for a usual image
SCALE = 1.48  # standard deviation, in median distances from the median
NOISE, MOST_OFF = 4.0, 4.0  # of 255, added to each deviation; cap of one cell, in deviations
DIFFERENT, OTHER, OUTLIER = (
    0.25,
    0.1,
    2.5,
)  # similarity of cameras that differ; of swapped ones; deviations
MOST = 5  # cameras for which all orders are tried


def check_swapped(reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    """Episodes whose cameras have another order than in most others.

    With many episodes each is compared with the usual image of each camera, cell by cell, where
    cells that vary between episodes count less. With few, with the most typical episode; the most
    frequent order is the right one.
    """
    names = _cameras(reports)
    seen = [r for r in reports if all(c in r.cameras for c in names)]
    if len(names) < 2 or len(seen) < 2:
        return
    marks = np.array([[r.cameras[c].signature for c in names] for r in seen], np.float64)
    marks = marks.reshape(len(seen), len(names), -1)
    exchanged = _by_usual(marks) if len(seen) >= MANY else _by_pivot(marks)
    for place, wrong in exchanged.items():
        which = " and ".join(names[i] for i in wrong)
        yield fault(
            "swapped_cameras",
            f"the images of cameras {which} are exchanged, compared with most other episodes",
            "Delete the episode, or record it again with the cameras named as in the others",
            episode=seen[place].episode,
            frame=0,
        )


def _by_usual(marks: Array) -> dict[int, tuple[int, ...]]:
    """Index of an episode -> its two swapped cameras.

    The similarity of an episode is the logarithm of its distance in the other order over that as
    named. Cameras with similar images have none, and no finding.
    """
    usual = np.median(marks, axis=0)
    spread = SCALE * np.median(np.abs(marks - usual), axis=0) + NOISE
    found: dict[int, tuple[float, tuple[int, ...]]] = {}
    for i, j in combinations(range(marks.shape[1]), 2):
        near = _off(marks[:, i], usual[i], spread[i]) + _off(marks[:, j], usual[j], spread[j])
        far = _off(marks[:, j], usual[i], spread[i]) + _off(marks[:, i], usual[j], spread[j])
        likeness = np.log((far + 1e-6) / (near + 1e-6))
        middle = float(np.median(likeness))
        width = SCALE * float(np.median(np.abs(likeness - middle)))
        if middle < DIFFERENT:
            continue
        for place in np.flatnonzero(likeness < min(-OTHER, middle - OUTLIER * width)).tolist():
            if place not in found or likeness[place] < found[place][0]:
                found[place] = (float(likeness[place]), (i, j))
    return {place: pair for place, (_, pair) in sorted(found.items())}


def _off(marks: Array, usual: Array, spread: Array) -> Array:
    """float64[n]: distance of images from a camera's usual one, in its spread, by cell."""
    return np.asarray(np.minimum(np.abs(marks - usual) / spread, MOST_OFF).mean(-1))


def _by_pivot(marks: Array) -> dict[int, tuple[int, ...]]:
    """Index of an episode -> its swapped cameras."""
    pivot = _pivot(marks)
    orders = [_order(marks[pivot], each) for each in marks]
    usual = Counter(orders).most_common(1)[0][0]
    if orders.count(usual) * 2 == len(orders):  # of two equally frequent ones the first is right
        usual = orders[0]
    # order[i] is the camera of the pivot that camera i of an episode resembles
    return {
        place: tuple(i for i in range(len(order)) if order[i] != usual[i])
        for place, order in enumerate(orders)
        if order != usual
    }


def _cameras(reports: Sequence[EpisodeReport]) -> tuple[str, ...]:
    found = Counter(c for r in reports for c in r.cameras)
    return tuple(c for c, n in found.items() if 2 * n > len(reports))[:MOST]


def _distances(a: Array, b: Array) -> Array:
    """float64[c, c]: between each camera of a and each of b, independent of brightness."""
    left, right = (m - m.mean(-1, keepdims=True) for m in (a, b))
    return np.asarray(np.abs(left[:, None] - right[None]).mean(-1))


def _pivot(marks: Array) -> int:
    """The episode most similar to all others, for any order of its cameras."""
    far = [sum(float(_distances(a, b).min(0).sum()) for b in marks) for a in marks]
    return int(np.argmin(far))


def _order(pivot: Array, other: Array) -> tuple[int, ...]:
    """For each camera of other, its match in pivot; as named unless another is far better."""
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
