"""What the guard remembers through engage, disengage, stop, reset and jumps of the clock. Times in ms."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits
from vla_policy.embodiment.layout import GRIPPER, VELOCITY, ActionPart, Layout
from vla_policy.execution.stopping_trajectory import Braking
from vla_policy.safety import guard_state
from vla_policy.safety.guard_state import Drive, Gone, GuardState, Sent
from vla_policy.safety.hold import REPEAT_NS
from vla_policy.types import Reason

MS = 1_000_000
REASON, OTHER = Reason("operator_stop", "by hand"), Reason("internal_error", "later")
NAMES = ("gripper", "base.vx", "base.wz")
WHEELS = Layout(
    NAMES,
    (
        ActionPart("hand", GRIPPER, slice(0, 1), NAMES[:1], GroupLimits()),
        ActionPart("base", VELOCITY, slice(1, 3), NAMES[1:], GroupLimits()),
    ),
)


def way(stop_ms):
    """To rest stop_ms after its stamp; the controller is told to stay until a second later."""
    times_ns = (40 * MS, stop_ms * MS, (stop_ms + 1000) * MS)
    return Braking(times_ns, np.zeros((3, 1)), np.zeros((3, 1)))


def sent(moved_ms=1000, *stops_ms):
    ways = {f"arm {k}": way(stop_ms) for k, stop_ms in enumerate(stops_ms)}
    return Sent(np.zeros(3), moved_ms * MS, moved_ms * MS, np.zeros(1), ways)


def drive(vx=0.2, stamp_ms=1000, moved_ms=900, taken=()):
    return Drive(np.array([0.0, vx, 0.0]), stamp_ms * MS, moved_ms * MS, frozenset(taken))


BUSY = GuardState(
    engaged=True, sent=sent(1000, 300, 250), drive=drive(taken=("base",)), began_ns=3, astray_ns=5,
    counts={"velocity": 2}, gone=Gone(np.zeros(3), np.ones(3), 3),
)  # fmt: skip
# At rest 300 ms after the command, and seen at rest 100 ms later.
SETTLED_NS = 1400 * MS


def test_to_engage_forgets_what_was_sent_and_who_had_taken_over():
    state = guard_state.engage(BUSY)
    assert state.engaged
    assert (state.sent, state.began_ns, state.astray_ns) == (None, None, None)
    assert state.settled_ns == SETTLED_NS
    assert state.drive.taken == frozenset()
    assert state.drive.values.tolist() == [0.0, 0.2, 0.0], "wheels go on turning meanwhile"
    assert state.counts == {"velocity": 2}
    assert guard_state.engage(GuardState()) == GuardState(engaged=True)


def test_to_disengage_forgets_what_was_sent_and_knows_what_still_drives():
    state = guard_state.disengage(BUSY)
    assert not state.engaged
    assert (state.sent, state.settled_ns, state.drive) == (None, SETTLED_NS, BUSY.drive)


def test_the_first_stop_counts_until_it_is_reset():
    state = guard_state.stop(BUSY, REASON)
    assert (state.engaged, state.stopped, state.sent) == (False, REASON, None)
    assert (state.settled_ns, state.drive) == (SETTLED_NS, BUSY.drive)
    assert state.counts == {"velocity": 2, "operator_stop": 1}
    assert guard_state.stop(state, OTHER) is state
    after = guard_state.reset(state)
    assert (after.engaged, after.stopped, after.counts) == (False, None, state.counts)
    assert not guard_state.reset(replace(BUSY, stopped=REASON)).engaged


def test_an_arm_on_its_way_to_rest_is_waited_for_however_often_it_is_forgotten():
    later = replace(BUSY, settled_ns=9_000 * MS)
    assert guard_state.forgotten(later).settled_ns == 9_000 * MS
    once = guard_state.forgotten(BUSY)
    assert guard_state.forgotten(once) is once
    assert once.gone is None and BUSY.gone is not None
    no_way = guard_state.forgotten(replace(BUSY, sent=sent(1000)))
    assert (no_way.sent, no_way.settled_ns) == (None, 0)


@pytest.mark.parametrize(
    ("now_ms", "vx"),
    [(500, 0.2), (1000, 0.2), (1500, 0.2), (1501, 0.0), (90_000, 0.0)],
)
def test_after_a_jump_wheels_turn_on_unless_their_controllers_have_timed_out(now_ms, vx):
    """A controller of velocities stops after half a second of silence at the latest."""
    state = guard_state.after_jump(BUSY, now_ms * MS)
    assert state.drive.values.tolist() == [0.0, vx, 0.0]
    assert (state.drive.stamp_ns, state.drive.moved_ns) == (now_ms * MS, now_ms * MS)
    assert state.drive.taken == frozenset({"base"})
    assert (state.sent, state.began_ns, state.astray_ns) == (None, None, None)
    assert state.engaged


def test_after_a_jump_an_arm_may_be_at_the_beginning_of_its_way_to_rest():
    assert guard_state.after_jump(BUSY, 7_000 * MS).settled_ns == (7_000 + 300 + 100) * MS
    # What has been forgotten already has left no way: as long as any could be.
    settling = GuardState(settled_ns=SETTLED_NS)
    assert guard_state.after_jump(settling, 200 * MS).settled_ns == (200 + 1000) * MS
    assert guard_state.after_jump(GuardState(), 200 * MS) == GuardState()


def test_what_merely_waits_is_no_intervention():
    waits = tuple(Reason(code, "") for code in ("disengaged", "no_chunk", "settling"))
    assert guard_state.counted(BUSY, waits) is BUSY
    assert guard_state.counted(BUSY, ()) is BUSY
    state = guard_state.counted(BUSY, (*waits, REASON, Reason("velocity", ""), REASON))
    assert state.counts == {"velocity": 3, "operator_stop": 2}
    assert BUSY.counts == {"velocity": 2}


def test_a_command_is_kept_with_its_ways_and_the_first_one_began_it():
    ways = {"arm": way(300)}
    values, velocity = np.array([0.5, 0.1, 0.0]), np.array([0.3])
    first = guard_state.sent(GuardState(engaged=True), WHEELS, values, velocity, ways, 40)
    assert (first.sent.stamp_ns, first.sent.moved_ns, first.began_ns) == (40, 40, 40)
    assert first.sent.values.tolist() == [0.5, 0.1, 0.0] and first.sent.velocity.tolist() == [0.3]
    assert first.sent.rested is None
    ways.clear()
    assert first.sent.ways["arm"].times_ns == way(300).times_ns, "a value of its own"
    second = guard_state.sent(first, WHEELS, values, velocity, {}, 60)
    assert (second.sent.stamp_ns, second.began_ns, second.sent.ways) == (60, 40, {})
    assert second.drive.values.tolist() == [0.0, 0.1, 0.0]


@pytest.mark.parametrize(
    ("before", "vx", "wz", "moved_ms"),
    [
        (None, 0.0, 0.0, 2000),
        (drive(0.0), 0.0, 0.0, 900),  # zero again and again: it last moved long ago
        (drive(0.0), 0.1, 0.0, 2000),
        (drive(0.0), 0.0, -0.1, 2000),
        (drive(0.2), 0.0, 0.0, 2000),  # it has just come to rest
    ],
)
def test_when_a_base_last_moved(before, vx, wz, moved_ms):
    values = np.array([0.7, vx, wz])
    found = guard_state.drive_of(values, before, WHEELS, 2000 * MS)
    assert found.values.tolist() == [0.0, vx, wz], "the hand is not driven"
    assert (found.stamp_ns, found.moved_ns) == (2000 * MS, moved_ms * MS)
    assert found.taken == frozenset()
    with pytest.raises(ValueError, match="read-only"):
        found.values[1] = 1.0


def test_who_has_taken_over_keeps_it_from_command_to_command():
    found = guard_state.drive_of(np.zeros(3), drive(taken=("base",)), WHEELS, 2000 * MS)
    assert found.taken == frozenset({"base"})
    arm = Layout(("gripper",), WHEELS.parts[:1])
    assert guard_state.drive_of(np.zeros(1), None, arm, 2000 * MS) is None


def test_zeros_that_have_been_said_for_a_while_are_said_for_the_rest_of_it_after_a_jump():
    """Half a second in all; the moment of the jump counts as one that was said."""
    zeros = drive(0.0, stamp_ms=1100, moved_ms=1000)
    after = guard_state.after_jump(GuardState(drive=zeros), 7_000 * MS).drive
    assert after.stamp_ns == 7_000 * MS
    assert 0 < after.stamp_ns - after.moved_ns - 100 * MS <= 100 * MS


@pytest.mark.parametrize(
    ("said_ms", "more"), [(0, True), (390, True), (410, False), (1000, False)]
)
def test_zeros_of_which_less_than_100_ms_are_left_are_not_begun_anew_after_a_jump(said_ms, more):
    zeros = drive(0.0, stamp_ms=1000 + said_ms, moved_ms=1000)
    after = guard_state.after_jump(GuardState(drive=zeros), 7_000 * MS).drive
    assert (after.stamp_ns - after.moved_ns <= REPEAT_NS) == more
