"""When a gripper that is commanded by goals gets a new goal.

Each goal of GripperCommand or ParallelGripperCommand preempts the previous one, and a policy's
gripper value chatters, so not every value may become a goal. A value becomes a goal once it has
settled away from the last goal. A value that never settles is followed by its median once all of
it lies on one side of the last goal; chatter that keeps returning to the last goal changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

DEADBAND = 0.1  # of the stroke: closer to the last goal is the same goal
STEADY = 0.03  # of the stroke: a value that stays within this has settled
SETTLE_NS = 150_000_000  # longer than one row of a slow policy that flips there and back
PATIENCE_NS = 500_000_000  # for a value that does not settle
MIN_INTERVAL_NS = 300_000_000


@dataclass(frozen=True, slots=True)
class GripperGoals:
    """goal: last requested opening, None before the first.

    recent: (stamp in ns, wanted opening).
    """

    goal: float | None = None
    goal_ns: int = 0
    recent: tuple[tuple[int, float], ...] = ()


def want(state: GripperGoals, opening: float, now_ns: int) -> tuple[GripperGoals, float | None]:
    """The state after opening (0 closed, 1 open) was wanted at now_ns, and a new goal or None."""
    since_ns = now_ns - PATIENCE_NS
    before = state.recent if state.recent and state.recent[-1][0] <= now_ns else ()
    recent = (*((ns, value) for ns, value in before if ns >= since_ns), (now_ns, opening))
    state = replace(state, recent=recent)
    candidate = _candidate(recent, state.goal, now_ns)
    if candidate is None:
        return state, None
    if state.goal is not None:
        too_soon = 0 <= now_ns - state.goal_ns < MIN_INTERVAL_NS
        if too_soon or abs(candidate - state.goal) <= DEADBAND:
            return state, None
    return replace(state, goal=candidate, goal_ns=now_ns), candidate


def _candidate(
    recent: tuple[tuple[int, float], ...], goal: float | None, now_ns: int
) -> float | None:
    """The settled value, or the median of one that has not settled for too long."""
    last = recent[-1][1]
    steady_ns = now_ns
    for stamp_ns, value in reversed(recent):
        if abs(value - last) > STEADY:
            break
        steady_ns = stamp_ns
    if now_ns - steady_ns >= SETTLE_NS:
        return last
    if now_ns - recent[0][0] < PATIENCE_NS * 9 // 10:
        return None
    values = [value for _, value in recent]
    if goal is None or min(values) > goal + DEADBAND or max(values) < goal - DEADBAND:
        return median(values)
    return None
