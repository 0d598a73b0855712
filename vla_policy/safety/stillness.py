"""Does somebody else move an arm? No command begins before it has stood still for a moment.

While a hand or another program leads an arm, nobody can say where it will be when its controller obeys again:
setpoints that began where it was measured would then be far from where it is. So what is measured of arms that no
command of ours moves is watched, engaged or not. Nothing is known after one measurement, and one does not wait for that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_policy.embodiment.layout import JOINTS, POSE, ActionPart, Layout
from vla_policy.geometry.quaternions import turn_between
from vla_policy.safety.guard_state import GuardState, Watched
from vla_policy.types import Array, readonly

STILL_NS = 200_000_000  # an arm that stands for this long is not led any more
STILL_M, STILL_RAD = 3e-3, 5e-3  # what is measured at rest varies by less


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
    """Whether an arm that no command moves has been seen to move only a moment ago."""
    seen = state.watched
    return seen is not None and seen.moved_ns is not None and (
        seen.stamp_ns - seen.moved_ns < STILL_NS
    )  # fmt: skip


def displaced(part: ActionPart, before: Array, here: Array) -> bool:
    """Whether an arm is measured elsewhere than before by more than measurements at rest vary."""
    if part.kind == JOINTS:
        return not (np.abs(here[part.columns] - before[part.columns]) <= STILL_RAD).all()
    way = here[part.position] - before[part.position]
    turn = turn_between(before[part.rotation], here[part.rotation])
    return not (np.linalg.norm(way) <= STILL_M and np.linalg.norm(turn) <= STILL_RAD)
