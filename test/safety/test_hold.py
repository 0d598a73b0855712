"""What goes out when nothing moves on: of each part, for how long, and never a position that would move an arm."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import JOINTS, POSE, layout_of
from vla_policy.execution.stopping_trajectory import joint_way
from vla_policy.safety.guard_state import Drive, GuardState, Sent
from vla_policy.safety.hold import disengage_for, drives, final_command, give_up, hold, ramp_down
from vla_policy.safety.robot import GuardedRobot
from vla_policy.types import Level, Reason

MS = 1_000_000
T_MS = 10_000  # of the last command
REASON = Reason("stale_camera", "for a test")
HOME = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.0])


def robot_of(name, **outputs):
    embodiment = replace(load_embodiment(name), model=None)
    changed = {g: replace(embodiment.outputs[g], **changes) for g, changes in outputs.items()}
    embodiment = replace(embodiment, outputs={**embodiment.outputs, **changed})
    return GuardedRobot(embodiment, layout_of(embodiment))


MOBILE = robot_of("vx300s_mobile")  # a tool's pose, a hand, a base of vx and wz; 20 ms
SERVO = robot_of("vx300s_mobile", arm={"type": "servo_pose", "servo": "servo_node"})
PATHS = robot_of("tiago")  # a trajectory, a hand, a base
LIMITS = MOBILE.embodiment.limits.groups["base"]
ARM = MOBILE.layout.names[:7]
HAND, BASE = MOBILE.layout.names[7:8], MOBILE.layout.names[8:]


def driven(vx=0.2, wz=-0.3, *, stamp_ms=T_MS, moved_ms=T_MS, taken=()):
    values = np.zeros(10)
    values[8:] = vx, wz
    return Drive(values, stamp_ms * MS, moved_ms * MS, frozenset(taken))


def state_of(robot, *, drive=None, repeated_ms=T_MS):
    values = np.array(HOME)
    ways = {}
    for part in robot.layout.of_kind(JOINTS):
        values = np.zeros(10)
        values[part.columns] = (part.lower + part.upper) / 2
        ways[part.group] = joint_way(part, values[part.columns], np.full(7, 0.1), 20 * MS)
    sent = Sent(values, repeated_ms * MS, T_MS * MS, np.zeros(6), ways)
    return GuardState(engaged=True, sent=sent, drive=drive)


def held(robot, state, after_ms, here=HOME):
    return hold(state, robot, (REASON,), (T_MS + after_ms) * MS, here=here)


@pytest.mark.parametrize(
    ("after_ms", "names"), [(20, (*ARM, *HAND)), (500, (*ARM, *HAND)), (501, None)]
)
def test_a_setpoint_is_repeated_for_half_a_second(after_ms, names):
    state, verdict = held(MOBILE, state_of(MOBILE), after_ms)
    assert (verdict.level, verdict.reasons) == (Level.HOLD, (REASON,))
    assert state.counts == {"stale_camera": 1}
    if names is None:
        assert verdict.command is None
        assert state.sent.stamp_ns == T_MS * MS, "the last repetition is the last one"
    else:
        assert verdict.command.names == names
        assert verdict.command.values.tolist() == HOME[:8].tolist()
        assert verdict.command.stamp_ns == (T_MS + after_ms) * MS
        assert verdict.command.rates is None or not np.any(verdict.command.rates)
        assert state.sent.stamp_ns == (T_MS + after_ms) * MS
    assert state.sent.moved_ns == T_MS * MS


@pytest.mark.parametrize(("after_ms", "again"), [(20, True), (400, False)])
def test_what_a_servo_that_stopped_was_sent_is_not_said_to_be_sent_again(after_ms, again):
    """It stopped where nobody knows before it is measured; one of two arms is enough for that."""
    stamp_ns = (T_MS + after_ms if again else T_MS) * MS
    assert held(SERVO, state_of(SERVO), after_ms)[0].sent.stamp_ns == stamp_ns
    pair = robot_of("vx300s_pair", left_arm={"type": "servo_pose", "servo": "servo_node"})
    kinds = [(part.group, part.kind) for part in pair.layout.of_kind(POSE)]
    assert kinds == [("left_arm", POSE), ("right_arm", POSE)]
    both = np.concatenate((HOME[:8], HOME[:8]))
    sent = Sent(both, T_MS * MS, T_MS * MS, np.zeros(12), {})
    state, _ = held(pair, GuardState(engaged=True, sent=sent), after_ms, here=both)
    assert state.sent.stamp_ns == stamp_ns


@pytest.mark.parametrize(("by", "told"), [(0.0099, True), (0.0101, False), (None, False)])
def test_an_arm_that_is_not_seen_at_its_setpoint_is_told_nothing(by, told):
    here = None if by is None else HOME + by * np.eye(10)[0]
    _, verdict = held(MOBILE, state_of(MOBILE), 20, here)
    assert verdict.command.names == ((*ARM, *HAND) if told else HAND)


def test_a_trajectory_has_its_way_to_rest_and_is_told_nothing():
    state = state_of(PATHS)
    _, verdict = held(PATHS, state, 20, state.sent.values)
    assert verdict.command.names == PATHS.layout.names[7:8]


@pytest.mark.parametrize(("since_ms", "told"), [(100, True), (101, False)])
def test_servo_whose_time_is_out_is_not_told_to_go_on(since_ms, told):
    """Its time counts from the last repetition."""
    state = state_of(SERVO, repeated_ms=T_MS + 150)
    _, verdict = held(SERVO, state, 150 + since_ms)
    assert verdict.command.names == ((*ARM, *HAND) if told else HAND)


def test_nothing_was_sent_so_nothing_goes_out():
    state, verdict = held(MOBILE, GuardState(engaged=True), 20)
    assert (verdict.level, verdict.command, state.sent) == (Level.HOLD, None, None)


@pytest.mark.parametrize("how", ["hold", "coast"])
def test_a_base_is_slowed_by_its_acceleration(how):
    dv, dw = LIMITS.linear_acceleration_m_s2 * 0.02, LIMITS.angular_acceleration_rad_s2 * 0.02
    state, now_ms, found = state_of(MOBILE, drive=driven()), T_MS, []
    while True:
        now_ms += 20
        if how == "hold":
            state, verdict = held(MOBILE, state, now_ms - T_MS)
            command = verdict.command
        else:
            state, command = ramp_down(state, MOBILE, now_ms * MS)
            assert set(command.names) <= set(BASE), "no position"
        found.append(dict(zip(command.names, command.values, strict=True)))
        if not drives(state):
            break
    vx, wz = ([values[name] for values in found] for name in BASE)
    count = np.arange(1, len(found) + 1)
    assert vx == pytest.approx(np.maximum(0.2 - dv * count, 0.0), abs=1e-12)
    assert wz == pytest.approx(np.minimum(-0.3 + dw * count, 0.0), abs=1e-12)
    assert state.drive.moved_ns == now_ms * MS


@pytest.mark.parametrize(("after_ms", "told"), [(20, True), (500, True), (501, False)])
def test_zero_is_repeated_for_half_a_second(after_ms, told):
    still = state_of(MOBILE, drive=driven(0.0, 0.0, stamp_ms=T_MS + after_ms - 20))
    state, command = ramp_down(still, MOBILE, (T_MS + after_ms) * MS)
    assert (command is not None) == told
    if told:
        assert command.names == BASE and command.values.tolist() == [0.0, 0.0]
        assert state.drive.moved_ns == T_MS * MS, "repeating it does not begin it anew"
    else:
        assert state is still


def test_a_base_that_drives_is_slowed_however_long_ago_it_was_told_so():
    """Its controller goes on for half a second."""
    state = state_of(MOBILE, drive=driven(stamp_ms=T_MS + 400, moved_ms=T_MS - 200))
    _, command = ramp_down(state, MOBILE, (T_MS + 420) * MS)
    assert command.values[0] == pytest.approx(0.2 - LIMITS.linear_acceleration_m_s2 * 0.02)
    _, command = ramp_down(state, MOBILE, (T_MS + 901) * MS)
    assert command.values.tolist() == [0.0, 0.0], "it has stopped, and does not start again"


def test_what_somebody_else_has_taken_over_is_told_nothing():
    before = state_of(MOBILE, drive=driven(taken=("hand",)))
    state = give_up(before, MOBILE, frozenset({"base"}))
    assert state.drive.taken == {"base", "hand"}
    assert not drives(state) and drives(before)
    assert (state.drive.stamp_ns, state.drive.moved_ns) == (T_MS * MS, T_MS * MS)
    assert ramp_down(state, MOBILE, (T_MS + 20) * MS)[1] is None
    assert final_command(state, MOBILE, (T_MS + 20) * MS) is None
    _, verdict = held(MOBILE, state, 20)
    assert verdict.command.names == (*ARM, *HAND)
    assert give_up(state, MOBILE, frozenset({"base"})) is state
    assert give_up(state, MOBILE, frozenset({"base", "hand"})) is state
    nothing = GuardState()
    assert give_up(nothing, MOBILE, frozenset({"base"})) is nothing
    other = give_up(before, MOBILE, frozenset({"arm"}))
    assert other.drive.values.tolist() == before.drive.values.tolist(), "the base is ours still"


def test_who_lets_go_brakes_what_it_drives_and_forgets_what_it_sent():
    state, verdict = disengage_for(
        state_of(MOBILE, drive=driven()), MOBILE, REASON, (T_MS + 20) * MS
    )
    assert (state.engaged, state.sent, state.counts) == (False, None, {"stale_camera": 1})
    assert (verdict.level, verdict.reasons) == (Level.HOLD, (REASON,))
    assert verdict.command.names == BASE
    assert 0.0 < verdict.command.values[0] < 0.2


def test_the_last_message_is_zero_for_what_drives_and_nothing_else():
    last = final_command(state_of(MOBILE, drive=driven(0.0, 0.1)), MOBILE, (T_MS + 20) * MS)
    assert (last.names, last.values.tolist()) == (BASE, [0.0, 0.0])
    assert last.stamp_ns == (T_MS + 20) * MS
    assert final_command(state_of(MOBILE), MOBILE, T_MS * MS) is None
    assert final_command(state_of(MOBILE, drive=driven(0.0, 0.0)), MOBILE, T_MS * MS) is None
    assert not MOBILE.layout.of_kind(POSE)[0].group.startswith("base")
