"""Whether stored statistics match the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vla_policy.data.checks.episode_data import BOOKKEEPING, ColumnSums, EpisodeReport
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.data.lerobot.layout import PROPOSED
from vla_policy.data.lerobot.statistics import QUANTILES
from vla_policy.types import Array

OFF = 0.01  # of a column's range
RANK = 0.02  # of the rows, between a quantile's actual and its expected rank
# Faults of rows that change statistics as well.
CAUSES = frozenset(
    ("not_finite", "out_of_limits", "unreadable", "false_length", "index_gap", "mixed_robots", "leap", "stuck_state")
)  # fmt: skip


def sums_of(table: Array, stored: Mapping[str, Any]) -> ColumnSums | None:
    """Sums over the finite rows of float64[n, d]; None without any."""
    rows = table[np.isfinite(table).all(1)]
    if not len(rows):
        return None
    below = {}
    for name in QUANTILES:
        value = _flat(stored.get(name))
        if value is not None and len(value) == rows.shape[1]:
            near = 1e-6 * (1 + np.abs(value))
            below[name] = np.stack([(rows < value - near).sum(0), (rows <= value + near).sum(0)])
    return ColumnSums(
        len(rows),
        rows.min(0),
        rows.max(0),
        np.median(rows, axis=0),
        rows.sum(0),
        (rows**2).sum(0),
        below,
    )


def check_episode_statistics(
    sums: Mapping[str, ColumnSums], stored: Mapping[str, Any], where: str
) -> Iterator[DataFinding]:
    """Compare the statistics that the set has for one episode."""
    wrong = [
        said for f, s in sums.items() if (said := _compare(f, [s], stored.get(f), exact=False))
    ]
    if wrong:
        yield _finding(wrong, where)


def check_statistics(
    reports: Sequence[EpisodeReport], stored: Mapping[str, Any], where: str, *, exact: bool
) -> Iterator[DataFinding]:
    """Compare meta/stats.json with all rows. exact: quantiles are claimed to be exact.

    Other writers combine quantiles of episodes: these are not compared.
    """
    if not stored or any(f.code in CAUSES for r in reports for f in r.findings):
        return
    wrong = []
    for feature in dict.fromkeys(f for r in reports for f in r.sums):
        sums = [r.sums[feature] for r in reports if feature in r.sums]
        if feature in stored or feature not in (*BOOKKEEPING, PROPOSED):
            said = _compare(feature, sums, stored.get(feature), exact=exact)
            wrong += [said] if said else []
    if wrong:
        yield _finding(wrong, where)


def _finding(wrong: Sequence[str], where: str) -> DataFinding:
    more = f"; {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return fault(
        "statistics",
        f"{wrong[0]}{more}",
        "Compute them anew with `vla data stats SET`: policies divide by these numbers",
        where=where,
    )


def _compare(
    feature: str, sums: Sequence[ColumnSums], stored: Mapping[str, Any] | None, *, exact: bool
) -> str:
    """The mismatches of a feature; '' without any."""
    if stored is None:
        return f"{feature}: there are no statistics"
    if len({len(s.minimum) for s in sums}) != 1:
        return ""
    count = sum(s.count for s in sums)
    lowest, highest = np.min([s.minimum for s in sums], 0), np.max([s.maximum for s in sums], 0)
    mean = np.sum([s.total for s in sums], 0) / count
    variance = np.sum([s.squares for s in sums], 0) / count - mean**2
    found = {"min": lowest, "max": highest, "mean": mean, "std": np.sqrt(np.maximum(variance, 0))}
    room = OFF * (highest - lowest) + 1e-5 * (1 + np.abs(highest))
    for key, value in found.items():
        said = _flat(stored.get(key))
        if said is None or said.shape != value.shape:
            return f"{feature}: {key} has {0 if said is None else len(said)} values, expected {len(value)}"
        off = ~(np.abs(said - value) <= room)
        if off.any():
            i = int(np.flatnonzero(off)[0])
            return f"{feature}: {key} of column {i} is {said[i]:.4g}, the data have {value[i]:.4g}"
    return _quantiles(feature, sums, stored, count, exact=exact)


def _quantiles(
    feature: str, sums: Sequence[ColumnSums], stored: Mapping[str, Any], count: int, *, exact: bool
) -> str:
    lowest, highest = np.min([s.minimum for s in sums], 0), np.max([s.maximum for s in sums], 0)
    room = OFF * (highest - lowest) + 1e-5 * (1 + np.abs(highest))
    before = None
    for key, share in QUANTILES.items():
        said = _flat(stored.get(key))
        if said is None:
            continue
        if not np.isfinite(said).all() or (before is not None and (said < before - 1e-6).any()):
            return f"{feature}: {key} is below a lower quantile"
        before = said
        outside = (said < lowest - room) | (said > highest + room)
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            return f"{feature}: {key} of column {i} is {said[i]:.4g}, the data go from {lowest[i]:.4g} to {highest[i]:.4g}"
        if not exact or not all(key in s.below for s in sums):
            continue
        under, upto = np.sum([s.below[key] for s in sums], 0) / count
        near = min(RANK, 0.8 * min(share, 1 - share)) + 1 / count
        off = (under > share + near) | (upto < share - near)
        if off.any():
            i = int(np.flatnonzero(off)[0])
            return f"{feature}: {key} of column {i} is {said[i]:.4g}, but {100 * under[i]:.0f} % of the data are below it"
    return ""


def _flat(value: Any) -> Array | None:
    if value is None:
        return None
    try:
        return np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None
