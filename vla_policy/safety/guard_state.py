"""The guard's state from tick to tick: engaged, stopped, the last command; and its transitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from vla_policy.embodiment.layout import VELOCITY, Layout
from vla_policy.execution.stopping_trajectory import Braking
from vla_policy.types import Array, Reason, readonly

SEEN_NS = 100_000_000  # after the end of a path to rest; then measurements show the arm at rest
SLEPT_NS = 500_000_000  # a larger jump ahead: every velocity controller has timed out meanwhile
SAID_NS = 100_000_000  # zeros with less than this left to repeat were repeated for long enough
LONGEST_NS = 1_000_000_000  # of a path to rest, after a clock has jumped

# Reasons that merely wait are no interventions and are not counted.
WAITING = frozenset({"disengaged", "no_chunk", "no_teleop", "paused", "settling"})


@dataclass(frozen=True, slots=True)
class Sent:
    """The last command and its velocity. Where its arms are later: safety/controller_state.py.

    values: float64[d]; for velocities Drive is authoritative.
    stamp_ns: of the command or of its last repetition. moved_ns: of the command itself.
    velocity: of all arms, as in rate_limits.arm_motions: rad/s or m/s of joints, m/s and rad/s of
        tools.
    ways: group -> the path to rest that was sent to its trajectory controller at moved_ns.
    rested: float64[d], measured once the arms had come to rest from it; None before.
    """

    values: Array
    stamp_ns: int
    moved_ns: int
    velocity: Array
    ways: Mapping[str, Braking] = field(default_factory=lambda: MappingProxyType({}))
    rested: Array | None = None


@dataclass(frozen=True, slots=True)
class Drive:
    """The last commanded velocities; they continue independently of the plan.

    values: float64[d], zero where the action is no velocity. moved_ns: when one last was not zero.
    taken: groups that another source commands: no commands for them until re-engaged.
    """

    values: Array
    stamp_ns: int
    moved_ns: int
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Watched:
    """Arms that no command moves, as last measured. Times are stamps of measurements.

    values: float64[d], their position. moved_ns: the last measured change; None: none was seen.
    """

    values: Array
    stamp_ns: int
    moved_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """Range of the commanded positions since the arms began to move, at since_ns.

    low, high: float64[d], of each column.
    """

    low: Array
    high: Array
    since_ns: int


@dataclass(frozen=True, slots=True)
class GuardState:
    """The guard's state. counts: reason code -> number of interventions.

    began_ns: the first command since engaging. astray_ns: since when the robot is off its path.
    settled_ns: until then arms may still be coming to rest from a command that is forgotten.
    watched: the measured arms while no command moves them. gone: the range of their commanded
    positions since they began to move. For both see safety/stillness.py.
    """

    engaged: bool = False
    stopped: Reason | None = None
    sent: Sent | None = None
    drive: Drive | None = None
    began_ns: int | None = None
    astray_ns: int | None = None
    settled_ns: int = 0
    watched: Watched | None = None
    gone: Gone | None = None
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def engage(state: GuardState) -> GuardState:
    """Let commands through. The last command is forgotten: the arm may have been moved since."""
    state, drive = forgotten(state), state.drive
    if drive is not None:
        drive = replace(drive, taken=frozenset())
    return replace(state, engaged=True, drive=drive, began_ns=None, astray_ns=None)


def disengage(state: GuardState) -> GuardState:
    """Let no command through, and forget the last one: it must never be published again."""
    return replace(forgotten(state), engaged=False)


def stop(state: GuardState, reason: Reason) -> GuardState:
    """Let no command through until reset(), and forget the last one; the first reason stays."""
    if state.stopped is not None:
        return state
    return counted(replace(forgotten(state), engaged=False, stopped=reason), (reason,))


def reset(state: GuardState) -> GuardState:
    """End a stop; the robot stays disengaged."""
    return replace(state, stopped=None, engaged=False)


def after_jump(state: GuardState, now_ns: int) -> GuardState:
    """The state that remains when stamps before now_ns are void: velocities that still drive."""
    drive = state.drive
    if drive is not None:
        slept = now_ns - drive.stamp_ns > SLEPT_NS
        values = readonly(np.zeros_like(drive.values)) if slept else drive.values
        # Zeros that were repeated for long enough are not repeated again: others may drive now.
        age_ns = 0 if drive.values.any() else drive.stamp_ns - drive.moved_ns + SAID_NS
        drive = replace(drive, values=values, stamp_ns=now_ns, moved_ns=now_ns - age_ns)
    if state.sent is not None:
        state = forgotten(replace(state, sent=replace(state.sent, moved_ns=now_ns)))
    elif state.settled_ns:
        state = replace(state, settled_ns=now_ns + LONGEST_NS)
    return replace(state, drive=drive, began_ns=None, astray_ns=None, watched=None)


def forgotten(state: GuardState) -> GuardState:
    """state without the last command; a trajectory controller is still on its path to rest."""
    if state.sent is None:
        return state
    moved_ns = state.sent.moved_ns
    stops_ns = [moved_ns + way.times_ns[1] + SEEN_NS for way in state.sent.ways.values()]
    return replace(state, sent=None, gone=None, settled_ns=max((state.settled_ns, *stops_ns)))


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
    state: GuardState,
    layout: Layout,
    values: Array,
    velocity: Array,
    ways: Mapping[str, Braking],
    now_ns: int,
) -> GuardState:
    """The state after a command was published."""
    last = Sent(readonly(values), now_ns, now_ns, readonly(velocity), MappingProxyType(dict(ways)))
    return replace(
        state,
        sent=last,
        drive=drive_of(values, state.drive, layout, now_ns),
        began_ns=now_ns if state.began_ns is None else state.began_ns,
        watched=None,
    )


def drive_of(values: Array, before: Drive | None, layout: Layout, now_ns: int) -> Drive | None:
    """The velocities of a command, with the time of their last motion; None without velocities."""
    parts = layout.of_kind(VELOCITY)
    if not parts:
        return None
    only = np.zeros_like(values)
    for part in parts:
        only[part.columns] = values[part.columns]
    if before is None:
        return Drive(readonly(only), now_ns, now_ns)
    moves = bool(only.any()) or bool(before.values.any())
    return Drive(readonly(only), now_ns, now_ns if moves else before.moved_ns, before.taken)
