"""The plan in execution: rows on the time axis, entered without a jump in position or velocity.

Row k of a plan is current from begin_ns + k * step_ns on and reached one step later. Between rows
the setpoint follows a curve of continuous velocity (spline.py). A new chunk becomes the plan as a
whole; the scheme's merge decides what remains of the old plan (schemes.py). Where the new plan
does not pass through the arm's position at its velocity, the difference fades within one step.

A chunk for a robot that has rested since the observation is followed from its first row on: the
robot has not moved since the observation, so no row is late. So a slow policy can move a robot
too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment.layout import POSE, Layout
from vla_policy.execution.spline import (
    ActionRates,
    Curve,
    Offset,
    curve,
    displaced,
    evaluate,
    moved,
    offset,
)
from vla_policy.timing import FUTURE_TOLERANCE_NS, due_ns, rows_left, s_from_ns
from vla_policy.types import ActionChunk, Array, Reason, readonly

KEPT = 8  # earlier chunks available to a merge


@dataclass(frozen=True, slots=True)
class Plan:
    """chunk: the newest accepted one; the plan's rows are the result of the scheme's merge.

    line: through the plan's rows. begin_ns: when row 0 was or is due; later than the chunk's stamp
    only if the robot rested. gap: between the arm and the line at start_ns, when the chunk was
    accepted.
    """

    chunk: ActionChunk
    line: Curve
    gap: Offset
    begin_ns: int
    start_ns: int

    @property
    def end_ns(self) -> int:
        """When the last row is reached."""
        return due_ns(self.begin_ns, self.chunk.step_ns, len(self.line.turns))


@dataclass(frozen=True, slots=True)
class Timeline:
    """plan: the current or last one; None before the first.

    kept: earlier chunks whose rows reach past the plan's begin_ns, oldest first, each with its own
    begin_ns.
    floor_ns: chunks of observations up to this time are refused: they are older than the chunk in
    execution, or than the emptying of the plan.
    """

    plan: Plan | None = None
    kept: tuple[tuple[int, ActionChunk], ...] = ()
    floor_ns: int | None = None

    @property
    def chunk(self) -> ActionChunk | None:
        """The newest accepted chunk; None without a plan."""
        return None if self.plan is None else self.plan.chunk


# timeline before, chunk, when its row 0 is due, now, layout -> rows float64[n, d] of the new plan.
Merge = Callable[[Timeline, ActionChunk, int, int, Layout], Array]


def newest(
    timeline: Timeline, chunk: ActionChunk, begin_ns: int, now_ns: int, layout: Layout
) -> Array:
    """The merge of receding horizon: the chunk unchanged."""
    return chunk.actions


def untimely(
    timeline: Timeline, chunk: ActionChunk, now_ns: int, shift_ns: int = 0
) -> Reason | None:
    """Why chunk, its rows later by shift_ns, is too early or late to be executed, or None."""
    if chunk.obs_ns > now_ns + FUTURE_TOLERANCE_NS:
        lead_s = s_from_ns(chunk.obs_ns - now_ns)
        return Reason("chunk_future", f"the observation is {lead_s:.3f} s ahead of the clock")
    if timeline.floor_ns is not None and chunk.obs_ns <= timeline.floor_ns:
        running = timeline.chunk
        if running is not None and chunk.obs_ns == running.obs_ns:
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
    plan = running_at(timeline, now_ns)
    if plan is not None and chunk.sequence <= plan.chunk.sequence:
        # A restarted policy counts from 0 again: it is accepted once this plan has run out.
        return Reason(
            "chunk_order", f"chunk {chunk.sequence} came after chunk {plan.chunk.sequence}"
        )
    return None


def insert(
    timeline: Timeline,
    chunk: ActionChunk,
    now_ns: int,
    start: Array,
    layout: Layout,
    *,
    lead_ns: int = 0,
    moving: ActionRates | None = None,
    merge: Merge = newest,
    whole: bool = False,
    rested: bool = False,
    direct: bool = False,
) -> tuple[Timeline, Reason | None]:
    """The timeline with chunk in the plan; or unchanged, with the reason.

    start: float64[d], position of the controllers, or the measured action before the first
    command.
    lead_ns: age of start; the robot has moved on since.
    moving: its velocity; None: as in the old plan.
    whole: a plan is executed to its end before another is accepted.
    direct: rows are followed unchanged, however far the arm is from them: for chunks that arrive
    within less than a step and each continue the previous one, where an offset that fades within
    one step would never vanish.
    rested: the robot has not moved since chunk's observation and is not moving now.
    """
    shift_ns = max(0, now_ns - chunk.obs_ns) if rested else 0
    reason = untimely(timeline, chunk, now_ns, shift_ns)
    if reason is None and whole and running_at(timeline, now_ns) is not None:
        reason = Reason(
            "chunk_early", f"chunk {chunk.sequence} came before the plan was at its end"
        )
    if reason is not None:
        return timeline, reason
    begin_ns = chunk.obs_ns + shift_ns
    rows = merge(timeline, chunk, begin_ns, now_ns, layout)
    if moving is None:
        _, moving = state_at(timeline, now_ns, layout) or (None, _rest(layout))
    line = curve(readonly(start), rows, layout)
    values, rates = evaluate(line, _steps(begin_ns, chunk.step_ns, now_ns), layout)
    here = moved(start, moving, lead_ns / chunk.step_ns, layout)
    if direct:
        here, moving = values[0], rates
    gap = offset(here, moving, values[0], rates, layout)
    plan = Plan(chunk, line, gap, begin_ns, now_ns)
    return Timeline(plan, _kept(timeline, begin_ns), floor_ns=chunk.obs_ns), None


def emptied(timeline: Timeline, now_ns: int) -> Timeline:
    """No plan; chunks of observations before now_ns are refused."""
    before_ns = now_ns - 1
    floor_ns = before_ns if timeline.floor_ns is None else max(before_ns, timeline.floor_ns)
    return Timeline(floor_ns=floor_ns)


def setpoint(timeline: Timeline, now_ns: int, layout: Layout) -> Array | None:
    """The action to command at now_ns, float64[d]; None if the plan has no row at that time."""
    state = state_at(timeline, now_ns, layout)
    return None if state is None else state[0]


def state_at(timeline: Timeline, now_ns: int, layout: Layout) -> tuple[Array, ActionRates] | None:
    """The setpoint float64[d] and its ActionRates per step; None if no row is due at that time."""
    plan = running_at(timeline, now_ns)
    if plan is None:
        return None
    step_ns = plan.chunk.step_ns
    values, rates = evaluate(plan.line, _steps(plan.begin_ns, step_ns, now_ns), layout)
    # Before start_ns another plan was followed; a clock that lags a little must not extrapolate.
    share = max(0.0, (now_ns - plan.start_ns) / step_ns)
    if share < 1.0:
        values, rates = displaced(values, rates, plan.gap, share, layout)
    return values[0], rates


def running_at(timeline: Timeline, now_ns: int) -> Plan | None:
    """The plan, if it still has rows to execute."""
    return timeline.plan if queued_rows(timeline, now_ns) > 0 else None


def queued_rows(timeline: Timeline, now_ns: int) -> int:
    """Rows still to execute, the current one included; 0 without a plan."""
    plan = timeline.plan
    if plan is None:
        return 0
    return rows_left(plan.begin_ns, plan.chunk.step_ns, len(plan.line.turns), now_ns)


def _steps(begin_ns: int, step_ns: int, now_ns: int) -> Array:
    return np.array([(now_ns - begin_ns) / step_ns])


def _rest(layout: Layout) -> ActionRates:
    return ActionRates(
        np.zeros((1, len(layout.names))), np.zeros((1, len(layout.of_kind(POSE)), 3))
    )


def _kept(timeline: Timeline, begin_ns: int) -> tuple[tuple[int, ActionChunk], ...]:
    if timeline.plan is None:
        return ()
    chunks = (*timeline.kept, (timeline.plan.begin_ns, timeline.plan.chunk))[-KEPT:]
    return tuple(
        (ns, chunk)
        for ns, chunk in chunks
        if due_ns(ns, chunk.step_ns, len(chunk.actions)) > begin_ns
    )
