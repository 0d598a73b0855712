"""The last thing before the wire: a setpoint within all limits, or none, and why.

Fixed order: enabled, fresh inputs, a plan, names and width, finite, workspace, position, velocity
and acceleration, step from the last command, finite again. The most restrictive level wins.

* HOLD keeps the last command; it is repeated for a moment and then stands. Before anything was
  sent there is no output.
* STOP gives no output until reset().
* A velocity is never held: on HOLD, STOP and disengage it is brought to zero within its
  acceleration limit, and zero is repeated for a moment.
* A target outside the workspace by at most WORKSPACE_MARGIN_M is moved to its edge (SLOW), since a
  policy that grasps at table height misses the edge by a little; further outside it is not what
  anybody meant, and the arm holds. The same goes for joint ranges with JOINT_MARGIN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from vla_policy.layout import VELOCITY, Layout
from vla_policy.safety.bounds import Robot, inside_limits, jump_between, start_inside, well_formed
from vla_policy.safety.motion import (
    advance,
    motion,
    motion_ratio,
    move_grippers,
    move_velocities,
    step_problem,
)
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

    values: float64[d]; of its velocities Drive is the measure.
    velocity: of all arms, as in motion.arm_motions: rad/s or m/s of joints, m/s and rad/s of tools.
    moved_ns: when a command last was more than a repeated one.
    """

    values: Array
    stamp_ns: int
    moved_ns: int
    velocity: Array


@dataclass(frozen=True, slots=True)
class Drive:
    """The last velocities that were commanded; they go on, whatever becomes of the plan.

    values: float64[d], zero where the action is no velocity. moved_ns: when one last was not zero.
    """

    values: Array
    stamp_ns: int
    moved_ns: int


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers. counts: reason code -> how often it acted."""

    engaged: bool = False
    stopped: Reason | None = None
    sent: Sent | None = None
    drive: Drive | None = None
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


def after_jump(state: GuardState, now_ns: int) -> GuardState:
    """What is left when stamps from before now_ns mean nothing: the wheels that turn."""
    drive = state.drive
    if drive is not None:
        drive = replace(drive, stamp_ns=now_ns, moved_ns=now_ns)
    return replace(state, sent=None, drive=drive)


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
        return None if here is None else _driven(here, state, robot.layout)
    stands = at_ns - sent.moved_ns <= REPEAT_NS or here is None
    if stands or jump_between(sent.values, here, robot.layout) is None:
        return _driven(sent.values, state, robot.layout)
    return _driven(here, state, robot.layout)


def moved_by_hand(state: GuardState, at_ns: int, here: Array | None, robot: Robot) -> bool:
    """Whether the robot has rested and is no longer where it was told to be."""
    sent = state.sent
    if sent is None or here is None or at_ns - sent.moved_ns <= REPEAT_NS:
        return False
    return jump_between(sent.values, here, robot.layout) is not None


def rested_since(state: GuardState, time_ns: int) -> bool:
    """Whether no motion has been commanded since, and a little before, time_ns."""
    moved = [motion.moved_ns for motion in (state.sent, state.drive) if motion is not None]
    return all(time_ns - moved_ns >= SETTLE_NS for moved_ns in moved)


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
        state, command = coast(state, robot, now_ns)
        return state, Verdict(Level.STOP, command, (state.stopped,))
    if not state.engaged:
        state, command = coast(state, robot, now_ns)
        return state, Verdict(Level.HOLD, command, (_DISENGAGED,))
    if faults:
        return _hold(state, robot, faults, now_ns)
    if proposed is None:
        return _hold(state, robot, (_NO_CHUNK,), now_ns)
    if here is not None:
        here = well_formed(here, robot.layout, [])
    if moved_by_hand(state, now_ns, here, robot):
        state = forget(state)
    start = anchor(state, now_ns, here, robot)
    if start is None:
        return _hold(state, robot, (_NO_POSITION,), now_ns)
    reasons: list[Reason] = []
    target = well_formed(proposed, robot.layout, reasons)
    if target is not None:
        target = inside_limits(target, robot.layout, reasons)
    if target is not None and state.sent is None:
        start = start_inside(start, target, robot.layout, reasons)
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
    layout = robot.layout
    dt_s = _elapsed_s(state.sent, robot, now_ns)
    step = motion(start, target, layout)
    velocity = np.zeros_like(step) if state.sent is None else state.sent.velocity
    ratio = motion_ratio(step, velocity, layout, dt_s, reasons)
    values = advance(start, target, step * ratio, ratio, layout)
    move_grippers(values, start, layout, dt_s, reasons)
    move_velocities(values, start, layout, _elapsed_s(state.drive, robot, now_ns), reasons)
    problem = step_problem(start, values, layout, dt_s)
    if problem is not None:
        return _hold(state, robot, (*reasons, problem), now_ns)
    velocity = step * ratio / dt_s if dt_s > 0.0 else velocity
    sent = Sent(readonly(values), now_ns, now_ns, readonly(velocity))
    level = Level.SLOW if reasons else Level.PASS
    command = Command(values, layout.names, now_ns)
    drive = _drive(values, state.drive, layout, now_ns)
    state = _counted(replace(state, sent=sent, drive=drive), tuple(reasons))
    return state, Verdict(level, command, tuple(reasons))


def coast(state: GuardState, robot: Robot, now_ns: int) -> tuple[GuardState, Command | None]:
    """Velocities on their way to zero, and zero for a moment; None where nothing is to be said."""
    state, slower = _slower(state, robot, now_ns)
    return state, _command(robot.layout, None, slower, now_ns)


def parting(state: GuardState, robot: Robot, now_ns: int) -> Command | None:
    """The last thing on the wire: the last positions again, velocities zero; None if none went out."""
    still = None if state.sent is None else state.sent.values
    zero = None if state.drive is None else np.zeros(len(robot.layout.names))
    return _command(robot.layout, still, zero, now_ns)


def _hold(
    state: GuardState, robot: Robot, reasons: tuple[Reason, ...], now_ns: int
) -> tuple[GuardState, Verdict]:
    """The last positions again, at rest; nothing if there are none or they were repeated enough."""
    state, slower = _slower(_counted(state, reasons), robot, now_ns)
    sent, still = state.sent, None
    if sent is not None:
        rest = replace(sent, velocity=readonly(np.zeros_like(sent.velocity)))
        if now_ns - sent.moved_ns <= REPEAT_NS:
            rest, still = replace(rest, stamp_ns=now_ns), sent.values
        state = replace(state, sent=rest)
    command = _command(robot.layout, still, slower, now_ns)
    return state, Verdict(Level.HOLD, command, reasons)


def _slower(state: GuardState, robot: Robot, now_ns: int) -> tuple[GuardState, Array | None]:
    """float64[d] with velocities nearer to zero; None if they have been zero for long enough."""
    drive = state.drive
    if drive is None or (now_ns - drive.moved_ns > REPEAT_NS and not drive.values.any()):
        return state, None
    values = np.zeros_like(drive.values)
    dt_s = _elapsed_s(drive, robot, now_ns)
    move_velocities(values, drive.values, robot.layout, dt_s, [])
    return replace(state, drive=_drive(values, drive, robot.layout, now_ns)), values


def _drive(values: Array, before: Drive | None, layout: Layout, now_ns: int) -> Drive | None:
    parts = layout.of_kind(VELOCITY)
    if not parts:
        return None
    only = np.zeros_like(values)
    for part in parts:
        only[part.columns] = values[part.columns]
    moves = before is None or bool(only.any()) or bool(before.values.any())
    return Drive(readonly(only), now_ns, now_ns if moves else before.moved_ns)


def _driven(values: Array, state: GuardState, layout: Layout) -> Array:
    """values with the velocities that are commanded now."""
    parts = layout.of_kind(VELOCITY)
    if not parts:
        return values
    values = np.array(values)
    for part in parts:
        values[part.columns] = 0.0 if state.drive is None else state.drive.values[part.columns]
    return values


def _command(
    layout: Layout, positions: Array | None, velocities: Array | None, now_ns: int
) -> Command | None:
    """One command of the parts for which there are values, or None."""
    names: list[str] = []
    values: list[float] = []
    for part in layout.parts:
        source = velocities if part.kind == VELOCITY else positions
        if source is not None:
            names += part.names
            values += source[part.columns].tolist()
    return Command(np.array(values), tuple(names), now_ns) if names else None


def _elapsed_s(last: Sent | Drive | None, robot: Robot, now_ns: int) -> float:
    """Time since the last command; a late tick makes up for MAX_PERIODS at most."""
    period_ns = robot.embodiment.period_ns
    elapsed_ns = period_ns if last is None else now_ns - last.stamp_ns
    return s_from_ns(min(max(elapsed_ns, 0), MAX_PERIODS * period_ns))


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
