"""How chunks follow each other. Each scheme is one merge of the old plan's rest and a new chunk.

    open_loop   every chunk to its end; a chunk that comes earlier is refused
    receding    the newest chunk replaces the rest of the old one
    ensemble    weighted mean of all chunks with a row at the same time, exp(-0.01 i), oldest first
                (ACT)
    average     0.3 old + 0.7 new where both have rows (lerobot's default for asynchronous inference)
    blend       the new chunk gains weight from row to row until the old plan ends
    rtc         a chunk that continues the plan (real-time chunking) unchanged; others as in blend

Rotations are averaged as rotations. Grippers are never averaged: in ensemble the chunks vote, in
the others the new chunk decides, and a change below GRIPPER_BAND is ignored.
Sources: ACT (arXiv:2304.13705) section IV; RTC (arXiv:2506.07339).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, POSE, Layout
from vla_policy.execution.resampling import resampled
from vla_policy.execution.timeline import Merge, Timeline, newest, running_at, state_at
from vla_policy.geometry.quaternions import turn_between, turned
from vla_policy.types import ActionChunk, Array

DECAY = 0.01  # of the weights of newer chunks in an ensemble
NEW = 0.7  # weight of the new chunk in average
GRIPPER_BAND = 0.15  # of the stroke


@dataclass(frozen=True, slots=True)
class Scheme:
    """merge: see Merge. whole: a chunk is executed to its end before another is accepted.

    continues: the policy is given the plan to continue.
    """

    merge: Merge
    whole: bool = False
    continues: bool = False


def ensemble(
    timeline: Timeline, chunk: ActionChunk, begin_ns: int, now_ns: int, layout: Layout
) -> Array:
    """Weighted mean per row over the chunks that have a row there; weight exp(-DECAY i), oldest i = 0."""
    chunks = [*timeline.kept]
    if timeline.plan is not None:
        chunks.append((timeline.plan.begin_ns, timeline.plan.chunk))
    rests = [resampled(c, ns, begin_ns, layout) for ns, c in chunks]
    voices = [rest[: len(chunk.actions)] for rest in rests if rest is not None] + [chunk.actions]
    rows = np.array(chunk.actions)
    held = _held(timeline, now_ns, layout)
    for k in range(len(rows)):
        said = np.stack([v[k] for v in voices if len(v) > k])
        weights = np.exp(-DECAY * np.arange(len(said)))
        rows[k] = _mean(said, weights / weights.sum(), layout)
    return _steadied(rows, held, layout)


def average(
    timeline: Timeline, chunk: ActionChunk, begin_ns: int, now_ns: int, layout: Layout
) -> Array:
    """Weight NEW for the new chunk in rows that the old plan has too."""
    return _mixed(timeline, chunk, begin_ns, now_ns, layout, lambda k, first, count: NEW)


def blend(
    timeline: Timeline, chunk: ActionChunk, begin_ns: int, now_ns: int, layout: Layout
) -> Array:
    """From the old plan at the current row to the new chunk at the old plan's end."""
    return _mixed(
        timeline,
        chunk,
        begin_ns,
        now_ns,
        layout,
        lambda k, first, count: max(0.0, (k - first + 1) / (count - first + 1)),
    )


def continued(
    timeline: Timeline, chunk: ActionChunk, begin_ns: int, now_ns: int, layout: Layout
) -> Array:
    """The chunk unchanged: it was computed as the continuation of this plan."""
    running = timeline.chunk
    if running is not None and chunk.continues == running.sequence:
        return chunk.actions
    return blend(timeline, chunk, begin_ns, now_ns, layout)


SCHEMES: dict[str, Scheme] = {
    "open_loop": Scheme(newest, whole=True),
    "receding": Scheme(newest),
    "ensemble": Scheme(ensemble),
    "average": Scheme(average),
    "blend": Scheme(blend),
    "rtc": Scheme(continued, continues=True),
}


def _mixed(
    timeline: Timeline,
    chunk: ActionChunk,
    begin_ns: int,
    now_ns: int,
    layout: Layout,
    share: Callable[[int, int, int], float],
) -> Array:
    """share(row, current row, rows of both) -> weight of the new chunk."""
    rows = np.array(chunk.actions)
    plan = running_at(timeline, now_ns)
    if plan is None:
        return rows
    old = _rest_of(timeline, plan.chunk.step_ns, begin_ns, len(rows), layout)
    first = min(len(old), max(0, (now_ns - begin_ns) // chunk.step_ns))
    for k in range(len(old)):
        new = share(k, first, len(old))
        rows[k] = _mean(np.stack((old[k], rows[k])), np.array([1.0 - new, new]), layout)
        for part in layout.of_kind(GRIPPER):
            rows[k, part.columns] = chunk.actions[k, part.columns]
    return _steadied(rows, _held(timeline, now_ns, layout), layout)


def _rest_of(
    timeline: Timeline, step_ns: int, begin_ns: int, count: int, layout: Layout
) -> list[Array]:
    """The plan in execution on the grid of begin_ns, up to its end."""
    rows = []
    for k in range(count):
        # Just before the end of a row: at its very end the plan may be over.
        state = state_at(timeline, begin_ns + (k + 1) * step_ns - 1, layout)
        if state is None:
            break
        rows.append(state[0])
    return rows


def _mean(said: Array, weights: Array, layout: Layout) -> Array:
    """Mean of actions float64[n, d], the newest last. weights: float64[n], sum 1."""
    mean: Array = weights @ said
    for part in layout.of_kind(POSE):
        mean[part.rotation] = mean_rotation(said[:, part.rotation], weights)
    for part in layout.of_kind(GRIPPER):
        values = said[:, part.columns][:, 0]
        open_side = weights[values > 0.5].sum() > 0.5
        mean[part.columns] = values[(values > 0.5) == open_side][-1]
    return mean


def mean_rotation(rotations: Array, weights: Array) -> Array:
    """Weighted mean on the sphere of unit quaternions float64[n, 4]; weights float64[n], sum 1.

    The rotation from which the weighted rotations to all others sum to zero, found iteratively.
    """
    mean: Array = rotations[-1]
    for _ in range(10):
        turn = weights @ turn_between(mean, rotations)
        mean = turned(mean, turn)
        if np.linalg.norm(turn) < 1e-9:
            break
    return mean


def _held(timeline: Timeline, now_ns: int, layout: Layout) -> Array | None:
    state = state_at(timeline, now_ns, layout)
    return None if state is None else state[0]


def _steadied(rows: Array, held: Array | None, layout: Layout) -> Array:
    """rows whose grippers change, from held on, only by more than GRIPPER_BAND."""
    for part in layout.of_kind(GRIPPER):
        values = rows[:, part.columns][:, 0]
        last = values[0] if held is None else float(held[part.columns][0])
        for k, value in enumerate(values):
            last = value if abs(value - last) > GRIPPER_BAND or value in (0.0, 1.0) else last
            rows[k, part.columns] = last
    return rows
