"""The plan that is being executed: the newest chunk, entered without a step (receding horizon).

Row k of a chunk is pursued from obs_ns + k * step_ns on and reached one step later, in a straight
line from row k - 1; row -1 is the action that stood when the chunk came. Where the new plan does
not pass through that action, the difference fades away within one step.

A chunk for a robot that has rested since the observation is followed from its first row on: the
robot still is where the policy saw it, so no row is late. That lets a slow policy move a robot too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.execution.interpolate import interpolate, shifted
from vla_policy.layout import POSE, Layout
from vla_policy.timing import (
    FUTURE_TOLERANCE_NS,
    due_ns,
    fraction_at,
    row_at,
    rows_left,
    s_from_ns,
)
from vla_policy.types import ActionChunk, Array, Reason, readonly

QUATERNION_TOLERANCE = 0.05  # of the norm; a row further off was not meant as a rotation


@dataclass(frozen=True, slots=True)
class Timeline:
    """start: float64[d], the action that stood at start_ns, when chunk was taken.

    shift_ns: how much later than planned the rows are followed; 0 unless the robot rested.
    floor_ns: chunks of observations up to this time are refused: they were seen before the chunk
    in execution, or before the plan was emptied.
    """

    chunk: ActionChunk | None = None
    start: Array | None = None
    start_ns: int = 0
    shift_ns: int = 0
    floor_ns: int | None = None


def malformed(chunk: ActionChunk, layout: Layout, step_ns: int) -> Reason | None:
    """Why no row of chunk can be an action of this robot, or None."""
    if chunk.names != layout.names:
        return Reason(
            "chunk_names",
            f"the chunk has the columns {', '.join(chunk.names)}, "
            f"the robot {', '.join(layout.names)}",
        )
    if abs(chunk.step_ns - step_ns) > step_ns // 100:
        return Reason(
            "chunk_step", f"the chunk has a row every {chunk.step_ns} ns, the robot {step_ns} ns"
        )
    finite = np.isfinite(chunk.actions)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        return Reason(
            "chunk_not_finite",
            f"{chunk.names[column]} of row {row} is {chunk.actions[row, column]}",
        )
    for part in layout.of_kind(POSE):
        norms = np.linalg.norm(chunk.actions[:, part.rotation], axis=1)
        off = np.flatnonzero(~(np.abs(norms - 1.0) <= QUATERNION_TOLERANCE))
        if off.size:
            return Reason(
                "chunk_quaternion",
                f"the quaternion of row {off[0]} has the norm {norms[off[0]]:.4g}, expected 1",
            )
    return None


def untimely(
    timeline: Timeline, chunk: ActionChunk, now_ns: int, shift_ns: int = 0
) -> Reason | None:
    """Why chunk, its rows later by shift_ns, comes at the wrong time to be executed, or None."""
    if chunk.obs_ns > now_ns + FUTURE_TOLERANCE_NS:
        lead_s = s_from_ns(chunk.obs_ns - now_ns)
        return Reason("chunk_future", f"the observation is {lead_s:.3f} s ahead of the clock")
    if timeline.floor_ns is not None and chunk.obs_ns <= timeline.floor_ns:
        same = timeline.chunk is not None and chunk.obs_ns == timeline.chunk.obs_ns
        if same:
            return Reason("chunk_duplicate", f"chunk {chunk.sequence} has the same observation")
        behind_s = s_from_ns(timeline.floor_ns - chunk.obs_ns)
        return Reason(
            "chunk_old",
            f"chunk {chunk.sequence} was observed {behind_s:.3f} s before what was taken last "
            "or before the plan was emptied",
        )
    left = rows_left(chunk.obs_ns + shift_ns, chunk.step_ns, len(chunk.actions), now_ns)
    if left == 0:
        age_s = s_from_ns(now_ns - chunk.obs_ns)
        return Reason("chunk_late", f"its last row was due before it came, {age_s:.3f} s old")
    running = queued_rows(timeline, now_ns) > 0
    if running and timeline.chunk is not None and chunk.sequence <= timeline.chunk.sequence:
        # A restarted policy counts from 0 again: it is heard when this plan has run out.
        return Reason(
            "chunk_order", f"chunk {chunk.sequence} came after chunk {timeline.chunk.sequence}"
        )
    return None


def insert(
    timeline: Timeline, chunk: ActionChunk, now_ns: int, start: Array, *, rested: bool = False
) -> tuple[Timeline, Reason | None]:
    """The timeline with chunk in place of the old plan; or unchanged, and the reason why.

    start: float64[d], the last command sent, or the measured action if there is none.
    rested: the robot has not moved since chunk's observation and is not moving now.
    """
    shift_ns = max(0, now_ns - chunk.obs_ns) if rested else 0
    reason = untimely(timeline, chunk, now_ns, shift_ns)
    if reason is not None:
        return timeline, reason
    return Timeline(chunk, readonly(start), now_ns, shift_ns, floor_ns=chunk.obs_ns), None


def emptied(timeline: Timeline, now_ns: int) -> Timeline:
    """No plan, and none that was seen before now_ns will be taken."""
    before_ns = now_ns - 1
    floor_ns = before_ns if timeline.floor_ns is None else max(before_ns, timeline.floor_ns)
    return Timeline(floor_ns=floor_ns)


def setpoint(timeline: Timeline, now_ns: int, layout: Layout) -> Array | None:
    """The action to command at now_ns, float64[d]; None if there is no row for that time."""
    chunk, start = timeline.chunk, timeline.start
    if chunk is None or start is None or queued_rows(timeline, now_ns) == 0:
        return None
    values = _on_path(chunk, start, now_ns - timeline.shift_ns, layout)
    share = 1.0 - (now_ns - timeline.start_ns) / chunk.step_ns
    if share <= 0.0:
        return values
    # Before start_ns there was another plan; a clock that lags a little must not extrapolate.
    origin = _on_path(chunk, start, timeline.start_ns - timeline.shift_ns, layout)
    return shifted(values, origin, start, min(share, 1.0), layout)


def queued_rows(timeline: Timeline, now_ns: int) -> int:
    """Rows still to come, the one that is pursued included; 0 without a plan."""
    chunk = timeline.chunk
    if chunk is None:
        return 0
    return rows_left(chunk.obs_ns + timeline.shift_ns, chunk.step_ns, len(chunk.actions), now_ns)


def gap_ns(timeline: Timeline, now_ns: int) -> int:
    """How long ago the plan ran out; 0 while there is one or if there never was."""
    chunk = timeline.chunk
    if chunk is None:
        return 0
    end_ns = due_ns(chunk.obs_ns + timeline.shift_ns, chunk.step_ns, len(chunk.actions))
    return max(0, now_ns - end_ns)


def _on_path(chunk: ActionChunk, start: Array, now_ns: int, layout: Layout) -> Array:
    row = row_at(chunk.obs_ns, chunk.step_ns, now_ns)
    if row < 0:
        return np.array(start)
    before = chunk.actions[row - 1] if row > 0 else start
    fraction = fraction_at(chunk.obs_ns, chunk.step_ns, now_ns)
    return interpolate(before, chunk.actions[row], fraction, layout)
