"""What ends a plan: no row of it is left, and nothing that was seen before is taken. Times in ms."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy import control as core
from vla_policy.control import Control
from vla_policy.embodiment import load_embodiment
from vla_policy.execution.timeline import queued_rows, setpoint
from vla_policy.layout import layout_of
from vla_policy.safety.bounds import Robot
from vla_policy.safety.watchdog import Inputs
from vla_policy.types import ActionChunk, Level, Reason, RobotState

MS = 1_000_000
EMBODIMENT = load_embodiment("vx300s")
ARM = Robot(EMBODIMENT, layout_of(EMBODIMENT))
ACTION = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
REASON = Reason("for_a_test", "for a test")
SEEN_MS = 5_100


def inputs(now_ms):
    now_ns = now_ms * MS
    return Inputs(now_ns, now_ns, dict.fromkeys(EMBODIMENT.cameras, now_ns))


def state_at(now_ms, x=0.3):
    pose = np.array([x, *ACTION[1:7]])
    return RobotState(np.zeros(6), now_ms * MS, {"ee": pose}, now_ms * MS, {"gripper": 0.5})


def tick(control, now_ms, x=0.3):
    return core.tick(control, ARM, state_at(now_ms, x), inputs(now_ms), now_ms * MS)


def chunk(obs_ms, sequence=0, **changes):
    rows = np.tile(ACTION, (10, 1))
    rows[:, 0] += 0.002 * np.arange(1, 11)
    names = ARM.layout.names
    return replace(ActionChunk(rows, names, obs_ms * MS, 100 * MS, sequence, "do it"), **changes)


def accept(control, new, now_ms):
    return core.accept(control, ARM, state_at(now_ms), new, now_ms * MS)


def moving():
    """A control that follows a chunk since 100 ms, at 5 200 ms; it has just sent a command."""
    control, refusal = core.engage(Control(), ARM, inputs(5_080), 5_080 * MS)
    assert refusal is None
    control, reason = accept(control, chunk(SEEN_MS), SEEN_MS)
    assert reason is None
    for now_ms in range(SEEN_MS, 5_201, 20):
        control, verdict = tick(control, now_ms)
        assert verdict.command is not None
    return control


EVENTS = {
    "disengage": lambda c, ms: core.disengage(c, ms * MS),
    "stop": lambda c, ms: core.stop(c, REASON, ms * MS),
    "another controller": lambda c, ms: core.let_go(c, ARM, REASON, ms * MS)[0],
    "an unreadable chunk": lambda c, ms: core.refuse(c, REASON, ms * MS),
    "a chunk that is not finite": lambda c, ms: accept(
        c, chunk(ms - 10, 1, actions=np.full((3, 8), np.nan)), ms
    )[0],
    "a chunk of another robot": lambda c, ms: accept(
        c, chunk(ms - 10, 1, names=ARM.layout.names[::-1]), ms
    )[0],
    "a chunk of other steps": lambda c, ms: accept(c, chunk(ms - 10, 1, step_ns=50 * MS), ms)[0],
    "a stale input": lambda c, ms: core.tick(
        c, ARM, state_at(ms), replace(inputs(ms), joint_ns=None), ms * MS
    )[0],
    "a clock that jumps": lambda c, ms: tick(replace(c, now_ns=(ms + 1) * MS), ms)[0],
}


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_it_ends_the_plan_at_once_and_only_later_observations_count(event):
    control = EVENTS[event](moving(), 5_220)
    assert control.timeline.chunk is None
    assert [queued_rows(control.timeline, ms * MS) for ms in (5_100, 5_220, 5_900)] == [0, 0, 0]
    assert setpoint(control.timeline, 5_220 * MS, ARM.layout) is None
    engaged = replace(control, guard=replace(control.guard, engaged=True, stopped=None))
    _, reason = accept(engaged, chunk(5_219, 2), 5_240)
    assert reason.code == "chunk_old"
    after, reason = accept(engaged, chunk(5_221, 2), 5_240)
    assert (reason, after.timeline.chunk.sequence) == (None, 2)


def test_nothing_of_it_is_left_in_what_is_published_next():
    """The same without looking inside: after each event the ticks that follow move nothing."""
    for event, end in EVENTS.items():
        control = end(moving(), 5_220)
        for now_ms in range(5_240, 5_400, 20):
            control, verdict = tick(control, now_ms)
            assert verdict.level >= Level.HOLD, event


def test_a_robot_that_is_moved_by_others_loses_its_plan():
    control, ended = moving(), None
    for now_ms in range(5_220, 5_900, 20):
        control, verdict = tick(control, now_ms, x=0.5)
        if not control.guard.engaged:
            ended = now_ms
            break
    assert verdict.reasons[0].code == "moved_away"
    assert ended == 5_220 + 500  # of 500 ms off its way
    assert control.timeline.chunk is None
    engaged = replace(control, guard=replace(control.guard, engaged=True))
    assert accept(engaged, chunk(ended - 1, 1), ended)[1].code == "chunk_old"


def test_a_hold_alone_does_not_end_a_plan():
    far = moving()
    rows = np.tile(ACTION, (10, 1))
    rows[:, 2] = -0.2  # below the table
    far, reason = accept(far, chunk(5_210, 1, actions=rows), 5_220)
    assert reason is None
    level = Level.PASS
    for now_ms in range(5_220, 5_500, 20):
        far, verdict = tick(far, now_ms, x=0.302)
        level = max(level, verdict.level)
    assert level is Level.HOLD
    assert far.timeline.chunk.sequence == 1


@pytest.mark.parametrize("how", ["another controller", "moved"])
def test_who_lets_go_forgets_what_was_sent_and_what_it_began_with(how):
    control = moving()
    assert control.guard.sent is not None
    if how == "moved":
        for now_ms in range(5_220, 5_900, 20):
            control, verdict = tick(control, now_ms, x=0.5)
            if not control.guard.engaged:
                break
    else:
        control, verdict = core.let_go(control, ARM, REASON, 5_220 * MS)
    assert control.guard.sent is None
    assert not control.guard.engaged
    assert (verdict.level, verdict.command) == (Level.HOLD, None)
    assert control.guard.counts[verdict.reasons[0].code] == 1


def test_a_plan_ends_when_a_robot_is_engaged_again():
    control = moving()
    control = replace(control, guard=replace(control.guard, engaged=False))
    control, refusal = core.engage(control, ARM, inputs(5_220), 5_220 * MS)
    assert refusal is None
    assert control.timeline.chunk is None
    assert control.guard.sent is None
    assert accept(control, chunk(5_219, 1), 5_220)[1].code == "chunk_old"


def test_to_engage_an_engaged_robot_changes_nothing():
    control = moving()
    assert core.engage(control, ARM, inputs(5_220), 5_220 * MS) == (control, None)


def test_a_reset_of_an_engaged_robot_changes_nothing():
    control = moving()
    after, refusal = core.reset(control)
    assert after is control
    assert "disengage" in refusal
