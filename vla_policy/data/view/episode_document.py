"""An episode as JSON for the page: columns, times, who was in control, ages, findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.frame import CONTROL_SOURCES
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.reader import DataSet
from vla_policy.types import Array

DIGITS = 5
LINES = {"state": layout.STATE, "action": layout.ACTION, "proposed": layout.PROPOSED}


def episode_document(
    data: DataSet, episode: int, findings: Iterable[DataFinding]
) -> dict[str, Any]:
    """Everything but the images. Unreadable rows are left out and named in "problem"."""
    entry = data.entries[episode]
    document: dict[str, Any] = {
        "episode": episode,
        "length": entry.length,
        "task": entry.tasks[0] if entry.tasks else "",
        "findings": [f.document() for f in findings if f.episode == episode],
    }
    try:
        rows, own = data.rows(episode), data.own_rows(episode)
        document |= {"task": data.task(episode), "success": data.success(episode)}
    except (ValueError, FileNotFoundError) as error:
        return document | {"problem": str(error), "plots": [], "flags": {}, "ages": {}}
    return document | {
        "plots": plots(rows, {"state": data.state_names, "action": data.action_names}),
        "flags": flags(rows, data.own.get("control_sources", CONTROL_SOURCES)),
        "ages": {n: _short(v) for n, v in own.items() if n != "stamp_ns"},
    }


def plots(rows: Mapping[str, Array], names: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """One plot per column: its name, and its values in state, action and plan."""
    found: dict[str, dict[str, Any]] = {}
    for line, feature in LINES.items():
        values = rows.get(feature)
        if values is None:
            continue
        table = np.asarray(values).reshape(len(values), -1)
        columns = names["state" if line == "state" else "action"]
        for i in range(table.shape[1]):
            name = columns[i] if i < len(columns) else f"{line}.{i}"
            found.setdefault(name, {"name": name})[line] = _short(table[:, i])
    return list(found.values())


def flags(rows: Mapping[str, Array], sources: Sequence[str]) -> dict[str, list[Any]]:
    """By frame: source of control, interventions, guard level, invalid frames, if available."""
    found: dict[str, list[Any]] = {}
    for name in ("control_source", "intervention", "guard_level", "frame_valid"):
        values = rows.get(name)
        if values is not None:
            found[name] = [int(v) for v in np.asarray(values).reshape(-1)]
    if "control_source" in found:
        known = dict(enumerate(sources))
        found["control_source"] = [known.get(c, "other") for c in found["control_source"]]
    return found


def _short(values: Any) -> list[float | None]:
    """With few digits; None for values that are not finite, which JSON lacks."""
    return [
        None if v is None or not np.isfinite(v) else float(f"{float(v):.{DIGITS}g}")
        for v in values
    ]
