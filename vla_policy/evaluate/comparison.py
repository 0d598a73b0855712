"""From a comparison's trials to its numbers: per policy and suite, and per pair of policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from vla_policy.evaluate.comparison_folder import Cell, ComparisonPlan
from vla_policy.evaluate.metrics import summarise
from vla_policy.evaluate.paired import difference_interval, mcnemar, mean_difference, paired

Row = Mapping[str, Any]


def cell_summary(cell: Cell, rows: Sequence[Row]) -> dict[str, Any]:
    """Numbers of one policy on one robot and suite, plain JSON data; None where undefined.

    seconds: median of the successes, of the clock of the twin or of the graph's operator. jerk in m/s³: medians over
    trials. seams: the median of how much rougher commands are where chunks meet (p95) than elsewhere (p95). guarded, held:
    shares of the command periods in which the guard changed what was asked, and in which it let the arm stand. chunk_ms,
    chunk_cpu_ms: p50 and p99 of all chunks, by the wall clock and by the process's own time on a processor.
    """
    policy, robot, suite = cell
    summary: dict[str, Any] = {"policy": policy, "robot": robot, "suite": suite, **summarise(rows)}
    chunks = [ms for row in rows for ms in row["chunk_ms"]]
    ticks = sum(row["ticks"] for row in rows)
    guard: Counter[str] = Counter()
    for row in rows:
        guard.update(row["guard"])
    ratios = [
        row["jerk_seam"] / row["jerk_own"] for row in rows if row["jerk_seam"] and row["jerk_own"]
    ]
    return summary | {
        "chunks": len(chunks),
        "chunk_ms": _percentiles(chunks, (50, 99)),
        "chunk_cpu_ms": _percentiles([ms for row in rows for ms in row["chunk_cpu_ms"]], (50, 99)),
        "jerk_rms": _median([row["jerk_rms"] for row in rows]),
        "seams": _median(ratios),
        "guarded": _share(rows, "guarded", ticks),
        "held": _share(rows, "held", ticks),
        "guard": dict(guard.most_common()),
        "memory_mb": _largest(rows, "memory_mb"),
        "gpu_mb": _largest(rows, "gpu_mb"),
        "wall_s": _median([row["wall_s"] for row in rows]),
    }


def differences(of: Mapping[Cell, Sequence[Row]]) -> list[dict[str, Any]]:
    """For each robot and suite, each pair of policies on their common trials: first minus second.

    p: McNemar's, exact, of this pair alone. seconds: mean difference where both succeed.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for policy, robot, suite in of:
        groups.setdefault((robot, suite), []).append(policy)
    return [
        found
        for (robot, suite), policies in groups.items()
        for first, second in combinations(policies, 2)
        if (found := _difference(of, first, second, robot, suite)) is not None
    ]


def document(
    plan: ComparisonPlan,
    of: Mapping[Cell, Sequence[Row]],
    facts: Mapping[str, Mapping[str, Any]],
    not_asked: Mapping[Cell, str],
) -> dict[str, Any]:
    """The whole comparison as plain JSON data."""
    return {
        "plan": {
            "policies": list(plan.policies),
            "robots": list(plan.robots),
            "suites": list(plan.suites),
            "episodes": plan.episodes,
            "options": dict(plan.options),
        },
        "policies": _policies(plan, facts),
        "results": [cell_summary(cell, rows) for cell, rows in of.items()],
        "differences": differences(of),
        "not_asked": [
            {"policy": policy, "robot": robot, "suite": suite, "reason": reason}
            for (policy, robot, suite), reason in not_asked.items()
        ],
    }


def _policies(
    plan: ComparisonPlan, facts: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Facts of each policy; the same on every robot except the suites that it fits."""
    found = []
    for policy in plan.policies:
        known = [f for f in facts.get(policy, {}).values() if "head" in f]
        own = {key: value for key, value in (known[0] if known else {}).items() if key != "unfit"}
        found.append({"policy": policy, **own})
    return found


def _difference(
    of: Mapping[Cell, Sequence[Row]], first: str, second: str, robot: str, suite: str
) -> dict[str, Any] | None:
    rows = [{row["index"]: row for row in of[policy, robot, suite]} for policy in (first, second)]
    same = sorted(set(rows[0]) & set(rows[1]))
    if not same:
        return None
    pairs = [(rows[0][i], rows[1][i]) for i in same]
    outcome = paired([a["success"] for a, _ in pairs], [b["success"] for _, b in pairs])
    both = [(a["seconds"], b["seconds"]) for a, b in pairs if a["success"] and b["success"]]
    seconds = None
    if both and any(s > 0 for pair in both for s in pair):
        mean, low, high = mean_difference([a for a, _ in both], [b for _, b in both])
        seconds = {"mean": round(mean, 3), "interval": [round(low, 3), round(high, 3)]}
    return {
        "robot": robot,
        "suite": suite,
        "first": first,
        "second": second,
        "trials": outcome.trials,
        "both": outcome.both,
        "first_only": outcome.first_only,
        "second_only": outcome.second_only,
        "neither": outcome.neither,
        "difference": outcome.difference,
        "interval": list(difference_interval(outcome)),
        "p": mcnemar(outcome),
        "seconds": seconds,
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 3) if known else None


def _percentiles(values: Sequence[float], which: Sequence[int]) -> list[float] | None:
    return [round(float(v), 2) for v in np.percentile(values, which)] if values else None


def _share(rows: Sequence[Row], key: str, of: int) -> float | None:
    return round(sum(row[key] for row in rows) / of, 5) if of else None


def _largest(rows: Sequence[Row], key: str) -> float | None:
    return max((row[key] for row in rows if row[key] is not None), default=None)
