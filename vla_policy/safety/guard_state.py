"""What the guard remembers from tick to tick: engaged, stopped, the last command; and its changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from vla_policy.embodiment.layout import VELOCITY, Layout
from vla_policy.execution.stopping_trajectory import Braking
from vla_policy.types import Array, Reason, readonly

SEEN_NS = 100_000_000  # behind the end of a way to rest the arm is seen at rest after this
SLEPT_NS = (
    500_000_000  # a jump ahead by more: every controller of velocities has stopped meanwhile
)
SAID_NS = (
    100_000_000  # zeros that were to be repeated for less than this were repeated for long enough
)
LONGEST_NS = 1_000_000_000  # of a way to rest, after a clock has jumped

# What merely waits is not an intervention and is not counted.
WAITING = frozenset({"disengaged", "no_chunk", "no_teleop", "paused", "settling"})


@dataclass(frozen=True, slots=True)
class Sent:
    """The last command and how fast it moved. Where its arms are later: safety/controller_state.py.

    values: float64[d]; of its velocities Drive is the measure.
    stamp_ns: of it, or of its last repetition. moved_ns: of it.
    velocity: of all arms, as in rate_limits.arm_motions: rad/s or m/s of joints, m/s and rad/s of tools.
    ways: group -> what its trajectory controller was sent at moved_ns.
    rested: float64[d], where the arms were measured when they had come to rest from it; None before.
    """

    values: Array
    stamp_ns: int
    moved_ns: int
    velocity: Array
    ways: Mapping[str, Braking] = field(default_factory=lambda: MappingProxyType({}))
    rested: Array | None = None


@dataclass(frozen=True, slots=True)
class Drive:
    """The last velocities that were commanded; they go on, whatever becomes of the plan.

    values: float64[d], zero where the action is no velocity. moved_ns: when one last was not zero.
    taken: groups that somebody else commands: they are told nothing until the robot is engaged again.
    """

    values: Array
    stamp_ns: int
    moved_ns: int
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Watched:
    """Arms that no command moves, as they were last measured. Times are stamps of measurements.

    values: float64[d], where they stand. moved_ns: when they last stood elsewhere before; None: never seen.
    """

    values: Array
    stamp_ns: int
    moved_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The places between which arms were told to be since they began to move, at since_ns.

    low, high: float64[d], of each column.
    """

    low: Array
    high: Array
    since_ns: int


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers. counts: reason code -> how often it acted.

    began_ns: the first command since engaging. astray_ns: since when the robot is off its way.
    settled_ns: until then arms may still be coming to rest from a command that is forgotten.
    watched: what is seen of the arms while nothing moves them. gone: where they were told to be since they
    began to move. For both see safety/stillness.py.
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
    """Let commands through. What was sent before is forgotten: the arm may have been moved."""
    state, drive = forgotten(state), state.drive
    if drive is not None:
        drive = replace(drive, taken=frozenset())
    return replace(state, engaged=True, drive=drive, began_ns=None, astray_ns=None)


def disengage(state: GuardState) -> GuardState:
    """Let nothing through, and forget what was sent: it must never go out again."""
    return replace(forgotten(state), engaged=False)


def stop(state: GuardState, reason: Reason) -> GuardState:
    """Let nothing through until reset(), and forget what was sent; the first reason stays."""
    if state.stopped is not None:
        return state
    return counted(replace(forgotten(state), engaged=False, stopped=reason), (reason,))


def reset(state: GuardState) -> GuardState:
    """End a stop; the robot stays disengaged."""
    return replace(state, stopped=None, engaged=False)


def after_jump(state: GuardState, now_ns: int) -> GuardState:
    """What is left when stamps from before now_ns mean nothing: the wheels that turn."""
    drive = state.drive
    if drive is not None:
        slept = now_ns - drive.stamp_ns > SLEPT_NS
        values = readonly(np.zeros_like(drive.values)) if slept else drive.values
        # Zeros that were repeated for long enough are not begun anew: others may drive meanwhile.
        age_ns = 0 if drive.values.any() else drive.stamp_ns - drive.moved_ns + SAID_NS
        drive = replace(drive, values=values, stamp_ns=now_ns, moved_ns=now_ns - age_ns)
    if state.sent is not None:
        state = forgotten(replace(state, sent=replace(state.sent, moved_ns=now_ns)))
    elif state.settled_ns:
        state = replace(state, settled_ns=now_ns + LONGEST_NS)
    return replace(state, drive=drive, began_ns=None, astray_ns=None, watched=None)


def forgotten(state: GuardState) -> GuardState:
    """state without what was sent; a trajectory controller is still on its way to rest."""
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
    """The state after a command went out."""
    last = Sent(readonly(values), now_ns, now_ns, readonly(velocity), MappingProxyType(dict(ways)))
    return replace(
        state,
        sent=last,
        drive=drive_of(values, state.drive, layout, now_ns),
        began_ns=now_ns if state.began_ns is None else state.began_ns,
        watched=None,
    )


def drive_of(values: Array, before: Drive | None, layout: Layout, now_ns: int) -> Drive | None:
    """The velocities of a command, to go on from; None for a robot that has none."""
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
