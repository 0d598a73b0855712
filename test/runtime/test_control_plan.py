"""What ends a plan: no row of it is left, and nothing that was seen before is taken. Times in ms."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.execution.stopping_trajectory import at, joint_way
from vla_policy.execution.timeline import queued_rows, setpoint
from vla_policy.execution.timeline import state_at as plan_at
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.safety import guard_state
from vla_policy.safety.guard_state import GuardState, Sent
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.types import ActionChunk, Level, Reason, RobotState

MS = 1_000_000
EMBODIMENT = load_embodiment("vx300s")
ARM = GuardedRobot(EMBODIMENT, layout_of(EMBODIMENT))
ACTION = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
REASON = Reason("for_a_test", "for a test")
SEEN_MS = 5_100


def inputs(now_ms):
    now_ns = now_ms * MS
    return InputStamps(now_ns, now_ns, dict.fromkeys(EMBODIMENT.cameras, now_ns))


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
    "another controller": lambda c, ms: core.disengage_for(c, ARM, REASON, ms * MS)[0],
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
    after, reason = accept(engaged, chunk(5_222, 2), 5_240)
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
        control, verdict = core.disengage_for(control, ARM, REASON, 5_220 * MS)
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


def engaged_at(now_ms, **changes):
    control, refusal = core.engage(Control(**changes), ARM, inputs(now_ms), now_ms * MS)
    assert refusal is None
    return control


def test_while_nothing_may_move_no_chunk_is_taken():
    control = Control()
    assert accept(control, chunk(5_100), 5_100) == (control, None)
    stopped = core.stop(moving(), REASON, 5_220 * MS)
    assert accept(stopped, chunk(5_230, 1), 5_240) == (stopped, None)


def test_no_chunk_is_taken_of_a_robot_that_was_never_measured():
    control = engaged_at(5_080)
    after, reason = core.accept(control, ARM, RobotState(), chunk(5_100), 5_100 * MS)
    assert after is control
    assert reason.code == "no_position"


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (chunk(5_210, 1, instruction="another"), "chunk_instruction"),
        (chunk(5_100, 1), "chunk_duplicate"),
        (chunk(5_000, 1), "chunk_old"),
        (chunk(9_000, 1), "chunk_future"),
        (chunk(5_210, 0), "chunk_order"),
        (chunk(5_210, 1, actions=np.full((1, 8), np.inf)), "chunk_not_finite"),
    ],
)
def test_each_chunk_that_is_not_taken_is_counted_once(new, code):
    control = core.instruct(moving(), "do it")
    after, reason = accept(control, new, 5_220)
    assert reason.code == code
    assert dict(after.guard.counts) == {**control.guard.counts, code: 1}
    again, _ = accept(after, new, 5_220)
    assert again.guard.counts[code] == 2


def test_a_chunk_of_an_instruction_that_ended_is_counted():
    for ended in (core.hush(moving(), 5_210 * MS), core.instruct(moving(), "")):
        after, reason = accept(ended, chunk(5_215, 1), 5_220)
        assert reason.code == "chunk_ended"
        assert after.guard.counts["chunk_ended"] == 1


def test_an_arm_that_is_held_while_its_plan_runs_has_not_come_to_its_end():
    """A late chunk is followed from its time on, not from its first row."""
    rows = np.tile(ACTION, (10, 1))
    rows[
        :, 2
    ] = -0.2  # below the table: held, so the last command is old when the next chunk comes
    control, _ = accept(moving(), chunk(5_210, 1, actions=rows), 5_220)
    for now_ms in range(5_220, 5_700, 20):
        control, verdict = tick(control, now_ms, x=0.302)
    assert verdict.level is Level.HOLD
    control, reason = accept(control, chunk(5_450, 2), 5_700)
    assert reason is None
    assert control.timeline.plan.begin_ns == 5_450 * MS


def test_a_late_chunk_of_an_arm_that_rests_is_followed_from_its_first_row():
    control, reason = accept(engaged_at(5_080), chunk(5_100), 5_300)
    assert reason is None
    assert control.timeline.plan.begin_ns == 5_300 * MS


def test_a_late_chunk_that_follows_another_is_followed_in_its_own_time():
    """The arm rests yet, but not because nothing was planned."""
    control, _ = accept(engaged_at(5_080), chunk(5_100), 5_300)
    control, reason = accept(control, chunk(5_200, 1), 5_320)
    assert reason is None
    assert control.timeline.plan.begin_ns == 5_200 * MS


@pytest.mark.parametrize(
    ("scheme", "y_mm"), [("receding", 10.0), ("average", 7.0), ("ensemble", 5.0 - 0.025)]
)
def test_what_two_chunks_become_is_the_scheme_s_affair(scheme, y_mm):
    control = engaged_at(5_080, scheme=scheme)
    old, new = (np.tile(ACTION, (10, 1)) for _ in range(2))
    new[:, 1] += 0.010
    control, _ = accept(control, chunk(5_100, 0, actions=old), 5_100)
    control, reason = accept(control, chunk(5_200, 1, actions=new), 5_200)
    assert reason is None
    at_5500 = setpoint(control.timeline, 5_500 * MS - 1, ARM.layout)
    assert 1e3 * at_5500[1] == pytest.approx(y_mm, abs=1e-3)


def test_open_loop_takes_no_chunk_before_the_end():
    control, _ = accept(engaged_at(5_080, scheme="open_loop"), chunk(5_100), 5_100)
    assert accept(control, chunk(5_200, 1), 5_200)[1].code == "chunk_early"


def of(instruction):
    """moving(), by a chunk of an instruction that nobody has given."""
    control, reason = accept(engaged_at(5_080), chunk(5_100, instruction=instruction), 5_100)
    assert reason is None
    return control


def test_what_ends_is_the_instruction_or_else_that_of_the_plan():
    given = core.instruct(engaged_at(5_080), "go left")
    assert core.instruct(given, "").ended == "go left"
    assert core.instruct(of("go right"), "").ended == "go right"
    both = replace(of("go right"), instruction="go left")
    assert core.instruct(both, "").ended == "go left"
    once = core.instruct(given, "")
    assert core.instruct(once, "").ended == "go left"
    assert core.instruct(once, "go on").ended is None


@pytest.mark.parametrize("instruction", ["", "go right"])
def test_another_instruction_drops_the_plan_but_not_when_it_was_seen(instruction):
    before = of("go left")
    control = core.instruct(before, instruction)
    assert control.timeline.chunk is None
    assert control.timeline.floor_ns == before.timeline.floor_ns == 5_100 * MS


def test_the_plan_of_the_very_instruction_goes_on():
    before = of("go left")
    assert core.instruct(before, "go left").timeline is before.timeline
    assert core.instruct(before, "go left").instruction == "go left"


def test_without_flush_the_plan_of_another_goes_on():
    before = of("go left")
    assert core.instruct(before, "go right", flush=False) is before


def test_a_jump_of_the_clock_forgets_what_was_measured_and_keeps_a_stop():
    robot = stepping("measured")
    control = Control()
    for now_ms in (5_000, 5_020):
        control, _ = core.tick(control, robot, state_at(now_ms), inputs(now_ms), now_ms * MS)
    assert len(control.references.measured.samples) == 2
    jumped, verdict = core.tick(control, robot, state_at(4_000), inputs(4_000), 4_000 * MS)
    assert jumped.references.measured.samples == ()
    assert (verdict.level, verdict.reasons[0].code) == (Level.HOLD, "clock_jump")
    stopped = core.stop(control, REASON, 5_020 * MS)
    _, verdict = core.tick(stopped, robot, state_at(4_000), inputs(4_000), 4_000 * MS)
    assert (verdict.level, verdict.reasons[0].code) == (Level.STOP, "clock_jump")


def test_a_tick_while_nothing_may_move_leaves_the_plan_as_it_is():
    before = core.disengage(moving(), 5_220 * MS)
    after, _ = tick(before, 5_240)
    assert after.timeline is before.timeline


def stepping(reference):
    """The arm of a policy that speaks of steps of the tool."""
    arm = replace(
        EMBODIMENT.actions[0],
        space="ee_delta",
        reference=reference,
        rotation="rotation_vector",
        names=("ee.x", "ee.y", "ee.z", "ee.rx", "ee.ry", "ee.rz"),
    )
    embodiment = replace(EMBODIMENT, actions=(arm, EMBODIMENT.actions[1]))
    return GuardedRobot(embodiment, layout_of(embodiment))


def step_chunk(robot, obs_ms, sequence):
    """2 mm ahead in each row."""
    rows = np.tile([0.002, 0, 0, 0, 0, 0, 0.5], (10, 1))
    names = robot.embodiment.action_names
    return ActionChunk(rows, names, obs_ms * MS, 100 * MS, sequence, "do it")


def test_a_robot_of_steps_remembers_where_it_was_and_what_it_was_told():
    robot = stepping("commanded")
    control, _ = core.engage(Control(), robot, inputs(5_000), 5_000 * MS)
    control, _ = core.tick(control, robot, state_at(5_000), inputs(5_000), 5_000 * MS)
    new = step_chunk(robot, 5_000, 0)
    control, reason = core.accept(control, robot, state_at(5_000), new, 5_000 * MS)
    assert reason is None
    control, verdict = core.tick(control, robot, state_at(5_050), inputs(5_050), 5_050 * MS)
    told = verdict.command.values
    assert told[0] > 0.3
    measured, commanded = control.references.measured, control.references.commanded
    assert [(ns // MS, x[0]) for ns, x in measured.samples] == [(5_000, 0.3), (5_050, 0.3)]
    assert [(ns // MS, x[0]) for ns, x in commanded.samples] == [(5_050, told[0])]
    # The next steps begin where it was told to be; after engaging again where it was measured.
    control, _ = core.accept(
        control, robot, state_at(5_060), step_chunk(robot, 5_050, 1), 5_060 * MS
    )
    assert control.timeline.chunk.actions[0, 0] == pytest.approx(told[0] + 0.002)
    control = core.disengage(control, 5_070 * MS)
    control, _ = core.engage(control, robot, inputs(5_080), 5_080 * MS)
    assert control.references.commanded.samples == ()
    assert len(control.references.measured.samples) == 2


def test_the_stamp_of_what_was_measured_is_that_of_the_older_input():
    robot = stepping("measured")
    state = replace(state_at(5_050), joint_ns=5_030 * MS)
    control, _ = core.tick(Control(), robot, state, inputs(5_050), 5_050 * MS)
    assert control.references.measured.samples[0][0] == 5_030 * MS
    unstamped = replace(state, joint_ns=None, ee_ns=None)
    control, _ = core.tick(Control(), robot, unstamped, inputs(5_050), 5_050 * MS)
    assert control.references.measured.samples[0][0] == 5_050 * MS


def test_a_robot_of_places_remembers_nothing():
    references = moving().references
    assert (references.measured.samples, references.commanded.samples) == ((), ())


def test_who_engages_again_is_not_hushed_any_more():
    control = core.disengage(core.hush(moving(), 5_220 * MS), 5_230 * MS)
    control, _ = core.engage(control, ARM, inputs(5_240), 5_240 * MS)
    assert accept(control, chunk(5_240, 5), 5_260)[1] is None


@pytest.mark.parametrize(("measured", "led"), [("at rest", True), ("before", False)])
def test_a_plan_of_an_arm_that_was_led_away_at_rest_starts_from_there(measured, led):
    """Unless what is measured is older than its rest: then it says nothing of where it is now."""
    control, now_ms = moving(), 5_220
    for now_ms in range(5_220, 6_600, 20):
        x = control.guard.sent.values[0]
        control, _ = tick(control, now_ms, x=x)
    last = control.guard.sent
    assert last.rested is not None
    stamp_ns = last.moved_ns + 100 * MS if measured == "before" else 6_590 * MS
    away = replace(state_at(6_600, x + 0.02), joint_ns=stamp_ns, ee_ns=stamp_ns)
    control, reason = core.accept(control, ARM, away, chunk(6_595, 1), 6_600 * MS)
    assert reason is None
    begins = setpoint(control.timeline, 6_600 * MS, ARM.layout)[0]
    assert begins == pytest.approx(x + 0.02 if led else x, abs=1e-6)


def test_a_chunk_of_no_instruction_is_taken_whatever_ended():
    control = core.instruct(core.instruct(engaged_at(5_080), "go left"), "")
    assert accept(control, chunk(5_100, instruction="go left"), 5_100)[1].code == "chunk_ended"
    assert accept(control, chunk(5_100, instruction=""), 5_100)[1] is None


def test_what_was_observed_before_the_clock_went_back_is_not_taken():
    """It is on its way with a stamp that seems new, of a robot that has been moved since."""
    control, _ = tick(core.disengage(moving(), 5_220 * MS), 5_240)
    control, verdict = tick(control, 4_840)
    assert verdict.reasons[0].code == "clock_jump"
    control, _ = core.engage(control, ARM, inputs(4_860), 4_860 * MS)
    assert accept(control, chunk(4_920, 5), 4_880)[1].code == "chunk_old"
    assert accept(control, chunk(5_260, 5), 5_280)[1] is None


def test_a_chunk_between_two_ticks_goes_on_from_where_the_arm_is_by_then():
    """Not from the last setpoint, which is 10 ms old."""
    before = moving()
    was, now_is = (setpoint(before.timeline, ms * MS, ARM.layout)[0] for ms in (5_200, 5_210))
    assert now_is - was > 0.00015
    control, reason = accept(before, chunk(5_205, 1), 5_210)
    assert reason is None
    begins = setpoint(control.timeline, 5_210 * MS, ARM.layout)[0]
    assert begins == pytest.approx(now_is, abs=0.00003)


def test_a_second_chunk_before_the_first_command_starts_from_where_the_arm_is():
    control, _ = accept(engaged_at(5_080), chunk(5_100), 5_100)
    control, reason = accept(control, chunk(5_140, 1), 5_150)
    assert reason is None
    assert setpoint(control.timeline, 5_150 * MS, ARM.layout)[0] == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize(("late_ms", "moves"), [(40, True), (41, False), (90, False)])
def test_a_plan_after_a_gap_begins_at_the_speed_of_the_arm(late_ms, moves):
    """A controller of poses has come to the last setpoint and stands: after two periods it starts from rest."""
    before = moving()
    now_ms = 5_200 + late_ms
    control, reason = accept(before, chunk(now_ms - 5, 1), now_ms)
    assert reason is None
    values, rates = plan_at(control.timeline, now_ms * MS, ARM.layout)
    speed_of = lambda timeline: plan_at(timeline, now_ms * MS, ARM.layout)[1].linear[0, 0]  # noqa: E731
    old = speed_of(before.timeline)
    assert old > 0.001
    assert rates.linear[0, 0] == pytest.approx(old if moves else 0.0, abs=1e-9)
    if not moves:
        assert values[0] == pytest.approx(before.guard.sent.values[0])


@pytest.mark.parametrize("after_ms", [20, 60, 100, 150, 400])
def test_a_robot_of_steps_remembers_where_its_way_to_rest_has_led(after_ms):
    """The next steps begin there, not at the last setpoint."""
    embodiment = replace(load_embodiment("xarm7"), model=None)
    robot = GuardedRobot(embodiment, layout_of(embodiment))
    arm = robot.layout.parts[0]
    values = np.append((arm.lower + arm.upper) / 2, 0.5)
    way = joint_way(arm, values[:7], np.full(7, 0.3), 20 * MS)
    sent = Sent(values, 5_000 * MS, 5_000 * MS, np.full(7, 0.3), {"arm": way})
    guard = replace(guard_state.engage(GuardState()), sent=sent)
    now_ns = (5_000 + after_ms) * MS
    seen = RobotState(values[:7], now_ns, grippers={"gripper": 0.5})
    fresh = InputStamps(now_ns, now_ns, dict.fromkeys(embodiment.cameras, now_ns))
    control, _ = core.tick(Control(guard=guard, now_ns=now_ns), robot, seen, fresh, now_ns)
    ((stamp_ns, told),) = control.references.commanded.samples
    assert stamp_ns == now_ns
    assert told[:7] == pytest.approx(at(way, after_ms * MS)[0])
    assert (told[:7] == values[:7]).all() == (after_ms <= 40)
    unseen, _ = core.tick(control, robot, RobotState(), fresh, now_ns + 1)
    assert len(unseen.references.measured.samples) == 1


@pytest.mark.parametrize(
    ("jump_ms", "before"),
    [(-1, True), (-1_299, True), (-1_301, False), (-5_000, False), (2_000, False)],
)
def test_what_could_still_be_on_its_way_is_not_taken_after_a_jump(jump_ms, before):
    """A chunk may be 1.2 s old, and 0.1 s ahead of the clock."""
    control = Control(now_ns=5_000 * MS)
    after, verdict = tick(control, 5_000 + jump_ms)
    assert verdict.reasons[0].code == "clock_jump"
    assert after.timeline.floor_ns == (5_000 if before else 5_000 + jump_ms) * MS


def test_what_another_controller_commands_is_given_up():
    embodiment = load_embodiment("vx300s_mobile")
    robot = GuardedRobot(embodiment, layout_of(embodiment))
    drive = guard_state.Drive(np.array([*[0.0] * 8, 0.2, 0.0]), 5_000 * MS, 5_000 * MS)
    control = Control(guard=GuardState(engaged=True, drive=drive))
    after = core.give_up(control, robot, frozenset({"base"}))
    assert after.guard.drive.taken == {"base"} and not after.guard.drive.values.any()
