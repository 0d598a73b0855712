"""What goes out when nothing moves on: the last positions again, and velocities on their way to zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_policy.layout import VELOCITY, Layout
from vla_policy.safety.bounds import Robot
from vla_policy.safety.memory import (
    GuardState,
    counted,
    disengage,
    drive_of,
    elapsed_s,
)
from vla_policy.safety.motion import move_velocities
from vla_policy.types import Array, Command, Level, Reason, Verdict, readonly

REPEAT_NS = 500_000_000  # a hold is repeated for this long, then the last command stands


def hold(
    state: GuardState, robot: Robot, reasons: tuple[Reason, ...], now_ns: int
) -> tuple[GuardState, Verdict]:
    """The last positions again, at rest; nothing if there are none or they were repeated enough."""
    state, slower = _slower(counted(state, reasons), robot, now_ns)
    sent, still = state.sent, None
    if sent is not None:
        rest = replace(sent, velocity=readonly(np.zeros_like(sent.velocity)))
        if now_ns - sent.moved_ns <= REPEAT_NS:
            rest, still = replace(rest, stamp_ns=now_ns), sent.values
        state = replace(state, sent=rest)
    command = _command(robot.layout, still, slower, now_ns)
    return state, Verdict(Level.HOLD, command, reasons)


def let_go(
    state: GuardState, robot: Robot, reason: Reason, now_ns: int
) -> tuple[GuardState, Verdict]:
    """HOLD and disengage, because somebody else moves the robot. What was sent is forgotten."""
    state, command = coast(counted(disengage(state), (reason,)), robot, now_ns)
    return replace(state, sent=None), Verdict(Level.HOLD, command, (reason,))


def coast(state: GuardState, robot: Robot, now_ns: int) -> tuple[GuardState, Command | None]:
    """Velocities on their way to zero, and zero for a moment; None where nothing is to be said."""
    state, slower = _slower(state, robot, now_ns)
    return state, _command(robot.layout, None, slower, now_ns)


def parting(state: GuardState, robot: Robot, now_ns: int) -> Command | None:
    """The last thing on the wire: the last positions again, velocities zero; None if none went out."""
    still = None if state.sent is None else state.sent.values
    zero = None if state.drive is None else np.zeros(len(robot.layout.names))
    return _command(robot.layout, still, zero, now_ns)


def _slower(state: GuardState, robot: Robot, now_ns: int) -> tuple[GuardState, Array | None]:
    """float64[d] with velocities nearer to zero; None if they have been zero for long enough."""
    drive = state.drive
    if drive is None or (now_ns - drive.moved_ns > REPEAT_NS and not drive.values.any()):
        return state, None
    values = np.zeros_like(drive.values)
    dt_s = elapsed_s(drive, robot, now_ns)
    move_velocities(values, drive.values, robot.layout, dt_s, [])
    return replace(state, drive=drive_of(values, drive, robot.layout, now_ns)), values


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
