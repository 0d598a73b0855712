"""Columns of a whole set: constant ones, and episodes of another robot or unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vla_policy.data.checks.episode_data import EpisodeReport
from vla_policy.data.checks.finding import DataFinding, doubt, fault
from vla_policy.data.lerobot.layout import ACTION, STATE
from vla_policy.types import Array

CONSTANT = 1e-4  # of the largest range of columns of the same feature
OTHER_SHARE = 0.5  # of the columns that differ from those of all other episodes
APART = 3.0  # distance of an episode's middle from the others, in their ranges
WIDER = 30.0  # times the range of the others; degrees are 57 times as wide as radians


def spans(reports: Sequence[EpisodeReport]) -> dict[str, Array]:
    """Feature -> float64[d]: range of each column in the set; only features of constant width."""
    found = {}
    for feature in dict.fromkeys(f for r in reports for f in r.sums):
        sums = [r.sums[feature] for r in reports if feature in r.sums and r.sums[feature].count]
        if sums and len({len(s.minimum) for s in sums}) == 1:
            lowest = np.min([s.minimum for s in sums], axis=0)
            found[feature] = np.max([s.maximum for s in sums], axis=0) - lowest
    return found


def check_constant(reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    """Constant columns of states and actions: dividing by their deviation amplifies noise."""
    found = spans(reports)
    names = next((r.names for r in reports if r.names), {})
    for feature in (STATE, ACTION):
        span = found.get(feature)
        if span is None or len(span) < 2 or not span.max() > 0:
            continue
        still = np.flatnonzero(span <= CONSTANT * float(np.median(span[span > 0])))
        if len(still):
            said = names.get(feature, ())
            which = ", ".join(said[i] if i < len(said) else str(i) for i in still)
            yield doubt(
                "constant_column",
                f"{feature}: {which} hardly changes in the whole set (by {float(span[still].max()):.2g} at most)",
                "Leave the column out, or normalise it by its limits and not by its deviation",
            )


def check_mixed(reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    """Robots that differ by name, by width, or by the values of an episode."""
    named: dict[str, list[int]] = {}
    for report in reports:
        if report.robot:
            named.setdefault(report.robot, []).append(report.episode)
    if len(named) > 1:
        few = min(named, key=lambda name: len(named[name]))
        yield fault(
            "mixed_robots",
            f"episodes are of {' and of '.join(sorted(named))}; {len(named[few])} of {few}",
            "Split the set by robot with `vla data split`",
            episode=named[few][0],
        )
        return
    for feature in (STATE, ACTION):
        usable = [r for r in reports if feature in r.sums and r.sums[feature].count]
        usable = [r for r in usable if not any(f.code == "not_finite" for f in r.findings)]
        found = list(_apart(feature, usable))
        yield from found
        if found:
            return


def _apart(feature: str, reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    if len(reports) < 3 or len({len(r.sums[feature].minimum) for r in reports}) != 1:
        return
    low = np.array([r.sums[feature].minimum for r in reports])
    high = np.array([r.sums[feature].maximum for r in reports])
    middle = np.array([r.sums[feature].median for r in reports])
    for i, report in enumerate(reports):
        others = np.arange(len(reports)) != i
        lowest, highest = (
            np.quantile(low[others], 0.1, axis=0),
            np.quantile(high[others], 0.9, axis=0),
        )
        # A column that hardly moved shows little about its range.
        span = np.maximum(highest - lowest, 0.5 * np.maximum(np.abs(lowest), np.abs(highest)))
        used = highest - lowest > 1e-6
        far = (middle[i] < lowest - APART * span) | (middle[i] > highest + APART * span)
        wide = (high[i] - low[i]) > WIDER * span
        apart = used & (far | wide)
        if used.sum() and apart.sum() >= max(2, OTHER_SHARE * used.sum()):
            yield fault(
                "mixed_robots",
                f"{int(apart.sum())} of {len(span)} columns of {feature} lie apart from those of all other episodes",
                "Another robot or another unit (degrees?): delete the episode, or split the set",
                episode=report.episode,
            )
