"""One finding per fault: consequences of another finding in the same episode are left out."""

from __future__ import annotations

from collections.abc import Iterable

from vla_policy.data.checks.finding import DataFinding

# A fault -> its consequences in the same episode.
FOLLOWS = {
    "false_length": {"drift", "missing_frames", "index_gap", "false_length", "statistics"},
    "mixed_robots": {"out_of_limits", "leap", "stuck_state", "statistics"},
    "stuck_state": {"leap"},
    "not_finite": {"leap"},
    "unreadable": {"drift", "short"},
    "false_fps": {"drift", "short", "long"},
    "missing_frames": {"leap"},
}


def root_causes(findings: Iterable[DataFinding]) -> tuple[DataFinding, ...]:
    """By episode and frame, those of the set first; without repetitions and consequences."""
    ordered = sorted(
        dict.fromkeys(findings),
        key=lambda f: (-1 if f.episode is None else f.episode, f.frame or 0, f.code),
    )
    kept: list[DataFinding] = []
    for finding in ordered:
        others = [f for f in ordered if f.episode == finding.episode and f is not finding]
        if any(
            finding.code in FOLLOWS.get(f.code, ()) and (f.code != finding.code or f in kept)
            for f in others
        ):
            continue
        kept.append(finding)
    return tuple(kept)
