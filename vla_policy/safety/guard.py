"""The last thing before the wire: a setpoint within all limits, or none, and why.

Fixed order: enabled, fresh inputs, a plan, names and width, finite, workspace, position, velocity
and acceleration, step from the last command, finite again. The most restrictive level wins.

* HOLD keeps the last command; it is repeated for a moment and then stands. Before anything was
  sent there is no output.
* STOP gives no output until reset().
* A target outside the workspace by at most WORKSPACE_MARGIN_M is moved to its edge (SLOW), since a
  policy that grasps at table height misses the edge by a little; further outside it is not what
  anybody meant, and the arm holds. The same goes for joint ranges with JOINT_MARGIN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from vla_policy.safety.bounds import Robot, inside_limits, jump_between, start_inside, well_formed
from vla_policy.safety.motion import advance, gripper_step, motion, motion_ratio, step_problem
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Command, Level, Reason, Verdict, readonly

MAX_PERIODS = 2  # a late tick may make up for this many command periods, not more
REPEAT_NS = 500_000_000  # a hold is repeated for this long, then the last command stands
SETTLE_NS = 200_000_000  # an arm comes to rest this long after its last command

# What merely waits is not an intervention and is not counted.
WAITING = frozenset({"disengaged", "no_chunk"})


@dataclass(frozen=True, slots=True)
class Sent:
    """The last command and how fast it moved.

    velocity: float64[j] of joints, or float64[6] of the tool: m/s and rad/s along base axes.
    moved_ns: when a command last was more than a repeated one.
    """

    values: Array
    stamp_ns: int
    moved_ns: int
    velocity: Array


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers. counts: reason code -> how often it acted."""

    engaged: bool = False
    stopped: Reason | None = None
    sent: Sent | None = None
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def engage(state: GuardState) -> GuardState:
    """Let commands through. What was sent before is forgotten: the arm may have been moved."""
    return replace(state, engaged=True, sent=None)


def disengage(state: GuardState) -> GuardState:
    """Let nothing through."""
    return replace(state, engaged=False)


def stop(state: GuardState, reason: Reason) -> GuardState:
    """Let nothing through until reset(); the first reason stays."""
    if state.stopped is not None:
        return state
    return _counted(replace(state, engaged=False, stopped=reason), (reason,))


def reset(state: GuardState) -> GuardState:
    """End a stop; the robot stays disengaged."""
    return replace(state, stopped=None, engaged=False)


def forget(state: GuardState) -> GuardState:
    """Forget the last command, so that the next one starts from the measured position."""
    return replace(state, sent=None)


def count(state: GuardState, reason: Reason) -> GuardState:
    """Count what was refused before it came to a setpoint, a chunk for example."""
    return _counted(state, (reason,))


def anchor(state: GuardState, at_ns: int, here: Array | None, robot: Robot) -> Array | None:
    """The action that the next command starts from: the last command, or the measured one.

    here: float64[d], the measured action. The last command counts while it moves, and later only
    if the robot is still where it was told to be; somebody may have moved it.
    """
    sent = state.sent
    if sent is None:
        return here
    if at_ns - sent.moved_ns <= REPEAT_NS or here is None:
        return sent.values
    return sent.values if jump_between(sent.values, here, robot) is None else here


def rested_since(state: GuardState, time_ns: int) -> bool:
    """Whether no motion has been commanded since, and a little before, time_ns."""
    return state.sent is None or time_ns - state.sent.moved_ns >= SETTLE_NS


def check(
    state: GuardState,
    robot: Robot,
    proposed: Array | None,
    *,
    here: Array | None,
    faults: tuple[Reason, ...],
    now_ns: int,
) -> tuple[GuardState, Verdict]:
    """The verdict on one setpoint, and the guard's next state.

    proposed: float64[d] in the order of robot.layout.names; None if there is no plan.
    here: float64[d], the measured action; None if unknown. faults: why inputs are not fresh.
    """
    if state.stopped is not None:
        return state, Verdict(Level.STOP, None, (state.stopped,))
    if not state.engaged:
        return state, Verdict(Level.HOLD, None, (_DISENGAGED,))
    if faults:
        return _hold(state, robot, faults, now_ns)
    if proposed is None:
        return _hold(state, robot, (_NO_CHUNK,), now_ns)
    if here is not None:
        here = well_formed(here, robot.layout, [])
    start = anchor(state, now_ns, here, robot)
    if start is None:
        return _hold(state, robot, (_NO_POSITION,), now_ns)
    if start is here:
        state = forget(state)
    reasons: list[Reason] = []
    target = well_formed(proposed, robot.layout, reasons)
    if target is not None:
        target = inside_limits(target, robot, reasons)
    if target is not None and state.sent is None:
        start = start_inside(start, target, robot, reasons)
    if target is None or start is None:
        return _hold(state, robot, tuple(reasons), now_ns)
    return _move(state, robot, start, target, reasons, now_ns)


def _move(
    state: GuardState,
    robot: Robot,
    start: Array,
    target: Array,
    reasons: list[Reason],
    now_ns: int,
) -> tuple[GuardState, Verdict]:
    """Velocity and acceleration, the step from the last command, finite again."""
    layout, period_ns = robot.layout, robot.embodiment.period_ns
    sent = state.sent
    elapsed_ns = period_ns if sent is None else now_ns - sent.stamp_ns
    dt_s = s_from_ns(min(max(elapsed_ns, 0), MAX_PERIODS * period_ns))
    step = motion(start, target, layout)
    velocity = np.zeros_like(step) if sent is None else sent.velocity
    ratio = motion_ratio(step, velocity, robot, dt_s, reasons)
    values = advance(start, target, step * ratio, ratio, layout)
    if layout.gripper is not None:
        values[layout.gripper] = gripper_step(start, target, robot, dt_s, reasons)
    problem = step_problem(start, values, robot, dt_s)
    if problem is not None:
        return _hold(state, robot, (*reasons, problem), now_ns)
    velocity = step * ratio / dt_s if dt_s > 0.0 else velocity
    sent = Sent(readonly(values), now_ns, now_ns, readonly(velocity))
    level = Level.SLOW if reasons else Level.PASS
    command = Command(values, layout.names, now_ns)
    state = _counted(replace(state, sent=sent), tuple(reasons))
    return state, Verdict(level, command, tuple(reasons))


def _hold(
    state: GuardState, robot: Robot, reasons: tuple[Reason, ...], now_ns: int
) -> tuple[GuardState, Verdict]:
    """The last command again, at rest; nothing if there is none or it has been repeated enough."""
    state = _counted(state, reasons)
    sent = state.sent
    if sent is None:
        return state, Verdict(Level.HOLD, None, reasons)
    repeat = now_ns - sent.moved_ns <= REPEAT_NS
    stamp_ns = now_ns if repeat else sent.stamp_ns
    rest = replace(sent, stamp_ns=stamp_ns, velocity=readonly(np.zeros_like(sent.velocity)))
    command = Command(sent.values, robot.layout.names, now_ns) if repeat else None
    return replace(state, sent=rest), Verdict(Level.HOLD, command, reasons)


def _counted(state: GuardState, reasons: tuple[Reason, ...]) -> GuardState:
    counted = [r.code for r in reasons if r.code not in WAITING]
    if not counted:
        return state
    counts = dict(state.counts)
    for code in counted:
        counts[code] = counts.get(code, 0) + 1
    return replace(state, counts=MappingProxyType(counts))


_DISENGAGED = Reason("disengaged", "no operator has engaged the robot")
_NO_CHUNK = Reason(
    "no_chunk", "there is no plan to follow: the policy is idle or its plan ran out"
)
_NO_POSITION = Reason("no_position", "where the robot is has not been measured")
