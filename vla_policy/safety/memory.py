"""What the guard remembers from tick to tick: engaged, stopped, the last command; and its changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from vla_policy.layout import VELOCITY, Layout
from vla_policy.safety.bounds import Robot
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Reason, readonly

MAX_PERIODS = 2  # a late tick may make up for this many command periods, not more
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
    """What the guard remembers. counts: reason code -> how often it acted.

    began_ns: the first command since engaging. astray_ns: since when the robot is off its way.
    """

    engaged: bool = False
    stopped: Reason | None = None
    sent: Sent | None = None
    drive: Drive | None = None
    began_ns: int | None = None
    astray_ns: int | None = None
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def engage(state: GuardState) -> GuardState:
    """Let commands through. What was sent before is forgotten: the arm may have been moved."""
    return replace(state, engaged=True, sent=None, began_ns=None, astray_ns=None)


def disengage(state: GuardState) -> GuardState:
    """Let nothing through."""
    return replace(state, engaged=False)


def stop(state: GuardState, reason: Reason) -> GuardState:
    """Let nothing through until reset(); the first reason stays."""
    if state.stopped is not None:
        return state
    return counted(replace(state, engaged=False, stopped=reason), (reason,))


def reset(state: GuardState) -> GuardState:
    """End a stop; the robot stays disengaged."""
    return replace(state, stopped=None, engaged=False)


def after_jump(state: GuardState, now_ns: int) -> GuardState:
    """What is left when stamps from before now_ns mean nothing: the wheels that turn."""
    drive = state.drive
    if drive is not None:
        drive = replace(drive, stamp_ns=now_ns, moved_ns=now_ns)
    return replace(state, sent=None, drive=drive, began_ns=None, astray_ns=None)


def counted(state: GuardState, reasons: tuple[Reason, ...]) -> GuardState:
    """Count each reason that is an intervention."""
    counted = [r.code for r in reasons if r.code not in WAITING]
    if not counted:
        return state
    counts = dict(state.counts)
    for code in counted:
        counts[code] = counts.get(code, 0) + 1
    return replace(state, counts=MappingProxyType(counts))


def sent(
    state: GuardState, robot: Robot, values: Array, velocity: Array, now_ns: int
) -> GuardState:
    """The state after a command went out."""
    return replace(
        state,
        sent=Sent(readonly(values), now_ns, now_ns, readonly(velocity)),
        drive=drive_of(values, state.drive, robot.layout, now_ns),
        began_ns=now_ns if state.began_ns is None else state.began_ns,
    )


def anchor(state: GuardState, here: Array | None, robot: Robot) -> Array | None:
    """The action that the next command starts from: the last command, or the measured one.

    here: float64[d], the measured action.
    """
    start = here if state.sent is None else state.sent.values
    return None if start is None else driven(start, state, robot.layout)


def rested_since(state: GuardState, time_ns: int) -> bool:
    """Whether no motion has been commanded since, and a little before, time_ns."""
    moved = [motion.moved_ns for motion in (state.sent, state.drive) if motion is not None]
    return all(time_ns - moved_ns >= SETTLE_NS for moved_ns in moved)


def driven(values: Array, state: GuardState, layout: Layout) -> Array:
    """values with the velocities that are commanded now."""
    parts = layout.of_kind(VELOCITY)
    if not parts:
        return values
    values = np.array(values)
    for part in parts:
        values[part.columns] = 0.0 if state.drive is None else state.drive.values[part.columns]
    return values


def drive_of(values: Array, before: Drive | None, layout: Layout, now_ns: int) -> Drive | None:
    """The velocities of a command, to go on from; None for a robot that has none."""
    parts = layout.of_kind(VELOCITY)
    if not parts:
        return None
    only = np.zeros_like(values)
    for part in parts:
        only[part.columns] = values[part.columns]
    moves = before is None or bool(only.any()) or bool(before.values.any())
    return Drive(readonly(only), now_ns, now_ns if moves else before.moved_ns)


def elapsed_s(last: Sent | Drive | None, robot: Robot, now_ns: int) -> float:
    """Time since the last command; a late tick makes up for MAX_PERIODS at most."""
    period_ns = robot.embodiment.period_ns
    elapsed_ns = period_ns if last is None else now_ns - last.stamp_ns
    return s_from_ns(min(max(elapsed_ns, 0), MAX_PERIODS * period_ns))
