"""Detects that an arm is moved from elsewhere; no first command before it has stood still.

While a person or another program moves an arm, its position when its controller obeys again is
unknown: setpoints that start at the measured position would be far off by then. Therefore the
measurements of arms that no command of ours moves are watched, engaged or not. One measurement
alone shows no motion, and a first command does not wait for a second.

An arm that another source begins to move just as our first command is sent is not noticed in
time. But then it does not follow the command: it is measured outside the range of all commanded
positions, and gets no more commands until it stands still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vla_policy.embodiment.layout import JOINTS, POSE, ActionPart, Layout
from vla_policy.execution.stopping_trajectory import Braking
from vla_policy.geometry.quaternions import turn_between
from vla_policy.safety.guard_state import Gone, GuardState, Watched
from vla_policy.types import Array, readonly

STILL_NS = 200_000_000  # an arm that stands still for this long is no longer moved from elsewhere
BEGINS_NS = 1_000_000_000  # for this long after an arm began to move it is checked that it follows
ASIDE_M, ASIDE_RAD = (
    0.02,
    0.04,
)  # an arm that follows may be this far outside the range of commanded positions
STILL_M, STILL_RAD = 3e-3, 5e-3  # measurements at rest vary by less


def watch(state: GuardState, here: Array | None, here_ns: int, layout: Layout) -> GuardState:
    """state after one more measurement of arms at rest: here, float64[d], stamped here_ns."""
    last = state.watched
    if here is None or (last is not None and here_ns == last.stamp_ns):
        return state
    if last is None or here_ns < last.stamp_ns:
        return replace(state, watched=Watched(readonly(here), here_ns))
    if any(displaced(part, last.values, here) for part in layout.of_kind(JOINTS, POSE)):
        return replace(state, watched=Watched(readonly(here), here_ns, moved_ns=here_ns))
    return replace(state, watched=replace(last, stamp_ns=here_ns))


def led(state: GuardState) -> bool:
    """Whether an arm that no command moves was measured moving within the last STILL_NS."""
    seen = state.watched
    return seen is not None and seen.moved_ns is not None and (
        seen.stamp_ns - seen.moved_ns < STILL_NS
    )  # fmt: skip


def begun(
    state: GuardState, here: Array | None, start: Array, values: Array, now_ns: int
) -> GuardState:
    """state at the first command since its arms were at rest: start, values, here float64[d].

    The range of commanded positions begins with start, values and here, the measured action.
    """
    places = np.stack((start, values, start if here is None else here))
    return replace(state, gone=Gone(places.min(axis=0), places.max(axis=0), now_ns))


def gone_on(
    state: GuardState, layout: Layout, values: Array, ways: Mapping[str, Braking]
) -> GuardState:
    """state after a command of values, float64[d], with the paths to rest in ways."""
    gone = state.gone
    if gone is None:
        return state
    ends = np.array(values)
    for part in layout.of_kind(JOINTS):
        if part.group in ways:
            ends[part.columns] = ways[part.group].positions[-1]
    places = np.stack((gone.low, gone.high, values, ends))
    return replace(state, gone=Gone(places.min(axis=0), places.max(axis=0), gone.since_ns))


def goes_elsewhere(state: GuardState, here: Array, now_ns: int, layout: Layout) -> bool:
    """Whether an arm that began to move recently is measured outside its commanded positions."""
    gone = state.gone
    if gone is None or now_ns - gone.since_ns > BEGINS_NS:
        return False
    beside = np.maximum(gone.low - here, here - gone.high)
    for part in layout.of_kind(JOINTS, POSE):
        joints = part.kind == JOINTS
        columns, allowed = (part.columns, ASIDE_RAD) if joints else (part.position, ASIDE_M)
        if not float(beside[columns].max()) <= allowed:
            return True
    return False


def lost(state: GuardState, here: Array, here_ns: int) -> GuardState:
    """state in which an arm counts as moved from elsewhere, measured at here."""
    return replace(state, watched=Watched(readonly(here), here_ns, moved_ns=here_ns))


def displaced(part: ActionPart, before: Array, here: Array) -> bool:
    """Whether an arm's measured position changed by more than measurements at rest vary."""
    if part.kind == JOINTS:
        return not (np.abs(here[part.columns] - before[part.columns]) <= STILL_RAD).all()
    way = here[part.position] - before[part.position]
    turn = turn_between(before[part.rotation], here[part.rotation])
    return not (np.linalg.norm(way) <= STILL_M and np.linalg.norm(turn) <= STILL_RAD)
