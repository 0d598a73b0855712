"""All checks of one episode's rows and images, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vla_policy.data.checks.bounds import ColumnBounds
from vla_policy.data.checks.episode_data import ColumnSums, EpisodeRows
from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.checks.index_columns import check_index
from vla_policy.data.checks.statistics_fit import sums_of
from vla_policy.data.checks.times import check_times
from vla_policy.data.checks.values import (
    check_finite,
    check_leaps,
    check_limits,
    check_stuck,
    check_valid,
)


def check_rows(rows: EpisodeRows, bounds: ColumnBounds) -> Iterator[DataFinding]:
    """All checks of the numbers of an episode."""
    yield from check_index(rows)
    yield from check_times(rows)
    yield from check_finite(rows)
    outside = list(check_limits(rows, bounds))
    yield from outside
    if not outside:  # a value in another unit leaps as well
        yield from check_leaps(rows, bounds)
    yield from check_stuck(rows)
    yield from check_valid(rows)


def sums_by_feature(rows: EpisodeRows, stored: Mapping[str, Any]) -> dict[str, ColumnSums]:
    """Sums over an episode's numbers. stored: statistics of the set, by feature."""
    found = {}
    for feature in rows.features:
        table = rows.table(feature)
        sums = None if table is None else sums_of(table, stored.get(feature) or {})
        if sums is not None:
            found[feature] = sums
    return found
