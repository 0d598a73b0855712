"""Commands while holding: the last positions again, and velocities ramped down to zero.

Never a position while no motion is allowed. A trajectory controller gets no command either: it has
its path to rest, and any other message would pull the arm off it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_policy.embodiment.layout import GRIPPER, POSE, VELOCITY, ActionPart
from vla_policy.safety.controller_state import drive_lapse_s, drive_now, elsewhere, timed_out
from vla_policy.safety.guard_state import GuardState, Sent, counted, disengage, drive_of
from vla_policy.safety.rate_limits import move_velocities
from vla_policy.safety.robot import GuardedRobot
from vla_policy.types import Array, Command, Level, Reason, Verdict

REPEAT_NS = 500_000_000  # a hold is repeated for this long, then nothing is published


def hold(
    state: GuardState,
    robot: GuardedRobot,
    reasons: tuple[Reason, ...],
    now_ns: int,
    *,
    here: Array | None = None,
) -> tuple[GuardState, Verdict]:
    """The last positions again, at rest; no command if there are none or after REPEAT_NS.

    here: float64[d], the measured action. An arm that is not measured at its last setpoint gets no
    command: it may have been moved from elsewhere, and its controller has the setpoint anyway.
    """
    state, slower = _slower(counted(state, reasons), robot, now_ns)
    last = state.sent
    still = None if last is None or now_ns - last.moved_ns > REPEAT_NS else last
    command = _command(robot, state, still, slower, now_ns, here=here)
    if still is not None and not _stopped_short(robot, still, now_ns):
        state = replace(state, sent=replace(still, stamp_ns=now_ns))
    return state, Verdict(Level.HOLD, command, reasons)


def disengage_for(
    state: GuardState, robot: GuardedRobot, reason: Reason, now_ns: int
) -> tuple[GuardState, Verdict]:
    """HOLD and disengage: the robot is moved from elsewhere. The last command is forgotten."""
    state, command = ramp_down(counted(disengage(state), (reason,)), robot, now_ns)
    return state, Verdict(Level.HOLD, command, (reason,))


def give_up(state: GuardState, robot: GuardedRobot, taken: frozenset[str]) -> GuardState:
    """Groups that another source commands now get no more commands, not even to stop."""
    drive = state.drive
    if drive is None or taken <= drive.taken:
        return state
    values = np.array(drive.values)
    for part in robot.layout.of_kind(VELOCITY):
        if part.group in taken:
            values[part.columns] = 0.0
    return replace(state, drive=replace(drive, values=values, taken=drive.taken | taken))


def ramp_down(
    state: GuardState, robot: GuardedRobot, now_ns: int
) -> tuple[GuardState, Command | None]:
    """Velocities ramped down to zero, then zero for a moment; None if there is nothing to send."""
    state, slower = _slower(state, robot, now_ns)
    return state, _command(robot, state, None, slower, now_ns)


def drives(state: GuardState) -> bool:
    """Whether a velocity commanded here still drives the robot."""
    return state.drive is not None and bool(state.drive.values.any())


def final_command(state: GuardState, robot: GuardedRobot, now_ns: int) -> Command | None:
    """The last command to publish: zero for what is still driven from here, and nothing else.

    Never a position: a controller keeps its last one or follows its path to rest, and the robot
    may have been moved since.
    """
    zero = np.zeros(len(robot.layout.names)) if drives(state) else None
    return _command(robot, state, None, zero, now_ns)


def _slower(
    state: GuardState, robot: GuardedRobot, now_ns: int
) -> tuple[GuardState, Array | None]:
    """float64[d] with velocities closer to zero; None if they have been zero for long enough."""
    drive = drive_now(state, robot, now_ns)
    if drive is None or (now_ns - drive.moved_ns > REPEAT_NS and not drive.values.any()):
        return state, None
    values = np.zeros_like(drive.values)
    dt_s = drive_lapse_s(drive, robot, now_ns)
    move_velocities(values, drive.values, robot.layout, dt_s, [])
    return replace(state, drive=drive_of(values, drive, robot.layout, now_ns)), values


def _command(
    robot: GuardedRobot,
    state: GuardState,
    still: Sent | None,
    velocities: Array | None,
    now_ns: int,
    *,
    here: Array | None = None,
) -> Command | None:
    """One command for the parts that need one, or None."""
    taken = frozenset() if state.drive is None else state.drive.taken
    names: list[str] = []
    values: list[float] = []
    for part in robot.layout.parts:
        source = None
        if part.kind == VELOCITY:
            source = None if part.group in taken else velocities
        elif still is not None and _stands(part, robot, still, here, now_ns):
            source = still.values
        if source is not None:
            names += part.names
            values += source[part.columns].tolist()
    return Command(np.array(values), tuple(names), now_ns) if names else None


def _stopped_short(robot: GuardedRobot, last: Sent, now_ns: int) -> bool:
    """Whether a tool's controller has timed out.

    Then only a measurement gives its position, so the setpoint is not sent again.
    """
    silent_ns = now_ns - last.stamp_ns
    return any(timed_out(part, robot, silent_ns) for part in robot.layout.of_kind(POSE))


def _stands(
    part: ActionPart, robot: GuardedRobot, last: Sent, here: Array | None, now_ns: int
) -> bool:
    """Whether a part's controller is at its last setpoint, so that repeating it moves nothing."""
    if part.group in last.ways or timed_out(part, robot, now_ns - last.stamp_ns):
        return False
    return part.kind == GRIPPER or (here is not None and not elsewhere(part, last.values, here))
