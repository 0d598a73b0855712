"""The column "measured" of the reaction table in docs/safety.md, from benchmarks/fault_times.json."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

# Beginning of a row's first cell -> the measured faults that it sums up.
ROWS = {
    "a camera is killed": ("camera *: kill", "camera *: freeze", "camera *: delay"),
    "a camera sends the very same pixels": ("camera *: same pixels, new stamps",),
    "the robot's driver is killed": ("robot: everything silent",),
    "joint states or tool pose": ("joint_states: *", "ee_pose: *"),
    "the clock jumps": ("clock jumps by *",),
    "a chunk that is malformed": (
        "chunk: nan", "chunk: wrong *", "chunk: huge", "chunk: huge claim",
    ),
    "a chunk that is old": ("chunk: old", "chunk: duplicate", "chunk: from the future"),
    "two policies send chunks": ("two policies at once",),
    "the policy: killed": ("policy: SIG*", "model: *"),
    "the policy: silent": ("policy: silent",),
    "the task node: ended": ("task: SIGINT", "task: SIGTERM"),
    "the task node: killed": ("task: SIGKILL",),
    "the control node: SIGINT": ("control: SIGINT", "control: SIGTERM"),
    "`~/stop`, then": ("stop, hand, control: *",),
    "the control node gets no processor": ("control: late by *",),
    "the control node: SIGKILL": ("control: SIGKILL",),
    "another controller commands": ("another controller commands: *",),
    "the robot is moved by hand": ("moved by hand at rest",),
    "a full disk under the logs": ("camera *: kill, with a full disk",),
}  # fmt: skip
# Rows about what does not change, or has no time: their tests say so, nothing is measured.
UNTIMED = ("inputs of the policy too far apart", "the page: SIGINT")
UNTIMED_FAULTS = ("page: *",)
HEADER = "| fault | bound | measured |"


def with_measured(page: str, faults: Mapping[str, Mapping[str, float]]) -> str:
    """page with the measured column of its table as the faults say. Raises ValueError for a row not in ROWS."""
    lines = page.split("\n")
    if HEADER not in lines:
        raise ValueError(f"docs/safety.md: expected a table with the header {HEADER!r}")
    first = row = lines.index(HEADER) + 2
    seen = []
    while row < len(lines) and lines[row].startswith("|"):
        fault, bound, _ = (cell.strip() for cell in lines[row].strip("|").split("|"))
        if not fault.startswith(UNTIMED):
            name = _row_of(fault)
            seen.append(name)
            lines[row] = f"| {fault} | {bound} | {measured(ROWS[name], faults)} |"
        row += 1
    missing = set(ROWS) - set(seen)
    if missing or row == first:
        raise ValueError(f"docs/safety.md: no row that begins with {sorted(missing)}")
    return "\n".join(lines)


def unknown(faults: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Faults that were measured and stand in no row."""
    patterns = [*UNTIMED_FAULTS, *(pattern for row in ROWS.values() for pattern in row)]
    return [f for f in faults if not any(fnmatch.fnmatchcase(f, p) for p in patterns)]


def measured(patterns: tuple[str, ...], faults: Mapping[str, Mapping[str, float]]) -> str:
    """The reaction times in words: their range over the faults that fit a pattern."""
    times_s = [
        times["reaction_s"]
        for fault, times in faults.items()
        if any(fnmatch.fnmatchcase(fault, pattern) for pattern in patterns)
    ]
    if not times_s:
        return "not measured"
    low, high = (_words(max(0.0, time_s)) for time_s in (min(times_s), max(times_s)))
    if max(times_s) <= 0.0:
        return "no command after"
    return high if low == high else f"{low} to {high}"


def _words(time_s: float) -> str:
    return f"{time_s * 1000:.0f} ms" if time_s < 0.1 else f"{time_s:.2f} s"


def _row_of(fault: str) -> str:
    for name in ROWS:
        if fault.startswith(name):
            return name
    raise ValueError(f"docs/safety.md: the row {fault!r} is not in benchmarks/fault_table.py")
