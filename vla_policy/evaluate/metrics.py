"""From trial results to success rates with intervals, as JSON and as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Z_95 = 1.959964


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate.

    >>> wilson(60, 60)[0] > 0.93
    True
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"wilson: got {successes} of {trials}, expected 0 <= k <= n, n >= 1")
    rate, z2 = successes / trials, Z_95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rate and interval of results (TrialResult.to_dict), also by family and reference kind."""
    summary = _rate(rows)
    summary["by_family"] = _split(rows, "family")
    summary["by_reference"] = _split(rows, "kind")
    summary["failures"] = dict(Counter(r["failure"] for r in rows if r["failure"]).most_common())
    looked = [r for r in rows if r["looked_right"] is not None]
    if looked:
        right = sum(r["looked_right"] for r in looked)
        errors = sorted(r["look_error_m"] for r in looked)
        summary["first_frame"] = {
            "right_object": right,
            "trials": len(looked),
            "interval": wilson(right, len(looked)),
            "median_error_m": errors[len(errors) // 2],
        }
    refused = sum(bool(r.get("refused")) for r in rows)
    summary["refused"] = {"refused": refused, "interval": wilson(refused, len(rows))}
    times = sorted(r["seconds"] for r in rows if r["success"])
    summary["median_seconds"] = times[len(times) // 2] if times else None
    return summary


def markdown(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per suite: rate, interval, first look, failures."""
    lines = [
        "| suite | success | 95 % interval | families | right object at first | refused | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, report in reports.items():
        low, high = report["interval"]
        families = ", ".join(
            f"{family} {part['successes']}/{part['trials']}"
            for family, part in report["by_family"].items()
        )
        look = report.get("first_frame")
        seen = f"{look['right_object']}/{look['trials']}" if look else "-"
        failures = ", ".join(f"{n} {why}" for why, n in report["failures"].items()) or "none"
        lines.append(
            f"| {name} | {report['successes']}/{report['trials']} = {report['rate']:.1%} | "
            f"{low:.1%} to {high:.1%} | {families} | {seen} | {report['refused']['refused']} | {failures} |"
        )
    return "\n".join(lines) + "\n"


def _rate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    successes = sum(bool(r["success"]) for r in rows)
    return {
        "successes": successes,
        "trials": len(rows),
        "rate": successes / len(rows),
        "interval": wilson(successes, len(rows)),
    }


def _split(rows: Iterable[Mapping[str, Any]], key: str) -> dict[str, Any]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return {name: _rate(group) for name, group in sorted(groups.items())}
