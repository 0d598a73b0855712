"""Whatever is proposed, what goes out is within all limits or absent."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE
from vla_policy.geometry.quaternions import turn_between
from vla_policy.safety import guard_state, hold
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.limits import acceleration_ratio, joint_speed_ratio, speed_ratio
from vla_policy.safety.robot import robot_of
from vla_policy.types import Level, Reason, RobotState

MS = 1_000_000
PERIOD = 20 * MS
GOLDEN = Path(__file__).parents[1] / "golden"


def robot(name, fade_s=0.0):
    """A robot that moves at full speed at once, unless a test is about that."""
    embodiment = load_embodiment(name)
    return robot_of(replace(embodiment, limits=replace(embodiment.limits, engage_fade_s=fade_s)))


ARM = robot("vx300s")
JOINT_ARM = robot(GOLDEN / "joint_robot.yaml")
UNSEEN = RobotState()
HERE = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
STALE = Reason("stale_camera", "front/image_raw is 0.50 s old, at most 0.35 s is allowed")


def engaged():
    return guard_state.engage(GuardState())


def moved(**columns):
    values = np.array(HERE)
    for name, value in columns.items():
        values[ARM.layout.names.index(name.replace("_", "."))] = value
    return values


def turned(angle_rad):
    return moved(ee_qz=np.sin(angle_rad / 2), ee_qw=np.cos(angle_rad / 2))


def judge(proposed, state=None, *, here=HERE, faults=(), now_ns=1000 * MS, robot=ARM, seen=UNSEEN):
    state = engaged() if state is None else state
    return check(state, robot, proposed, here=here, seen=seen, faults=faults, now_ns=now_ns)


def codes(verdict):
    return [reason.code for reason in verdict.reasons]


@pytest.mark.parametrize(
    ("proposed", "level", "expected"),
    [
        (HERE, Level.PASS, []),
        (None, Level.HOLD, ["no_chunk"]),
        (HERE[:7], Level.HOLD, ["width"]),
        (HERE.astype(np.float32), Level.HOLD, ["width"]),
        (moved(ee_x=np.nan), Level.HOLD, ["not_finite"]),
        (moved(gripper=np.inf), Level.HOLD, ["not_finite"]),
        (moved(ee_qw=0.5), Level.HOLD, ["quaternion"]),
        (moved(ee_qw=-1.0), Level.PASS, []),
        (moved(ee_x=0.5), Level.HOLD, ["start_jump"]),
        (turned(0.4), Level.HOLD, ["start_jump"]),
        (moved(ee_z=-0.041), Level.HOLD, ["workspace_far"]),
        (moved(ee_x=1e300), Level.HOLD, ["workspace_far"]),
        (moved(gripper=1.04), Level.SLOW, ["gripper_speed"]),
        (moved(gripper=1.2), Level.SLOW, ["position", "gripper_speed"]),
        (moved(ee_x=0.302), Level.PASS, []),
        (moved(ee_x=0.305), Level.SLOW, ["acceleration"]),
        (moved(ee_x=0.35), Level.SLOW, ["velocity", "acceleration"]),
        (turned(0.2), Level.SLOW, ["velocity", "acceleration"]),
    ],
)
def test_first_setpoint(proposed, level, expected):
    state, verdict = judge(proposed)
    assert (verdict.level, codes(verdict)) == (level, expected)
    if level is Level.HOLD:
        assert verdict.command is None  # nothing was ever sent, so nothing goes out, never zeros
        assert state.sent is None
    else:
        assert verdict.command.names == ARM.layout.names
    for code in expected:
        assert state.counts.get(code, 0) == (0 if code == "no_chunk" else 1)


def test_disengaged_and_stopped_give_no_output():
    assert judge(HERE, GuardState())[1].command is None
    assert codes(judge(HERE, GuardState())[1]) == ["disengaged"]
    stopped = guard_state.stop(engaged(), Reason("operator_stop", "an operator stopped the robot"))
    for _ in range(3):
        stopped, verdict = judge(HERE, stopped)
        assert (verdict.level, verdict.command) == (Level.STOP, None)
    again = guard_state.stop(stopped, Reason("internal_error", "later"))
    assert again.stopped.code == "operator_stop"
    assert judge(HERE, guard_state.reset(stopped))[1].level is Level.HOLD
    assert judge(HERE, guard_state.engage(guard_state.reset(stopped)))[1].level is Level.PASS
    assert stopped.counts == {"operator_stop": 1}


def test_a_small_way_outside_the_workspace_is_moved_to_its_edge():
    here = moved(ee_z=0.011)
    _, verdict = judge(moved(ee_z=-0.02), here=here)
    assert codes(verdict) == ["workspace"]
    assert verdict.command.values[2] == pytest.approx(0.01)


def test_a_robot_outside_the_workspace_does_not_start():
    _state, verdict = judge(moved(ee_z=0.02), here=moved(ee_z=-0.05))
    assert codes(verdict) == ["start_outside"]
    assert verdict.command is None
    # A little outside it goes in from where it stands: 6 m/s^2 for one period, twice.
    state, verdict = judge(moved(ee_z=0.02), here=moved(ee_z=0.0))
    assert verdict.command.values[2] == pytest.approx(0.0024)
    _, verdict = judge(moved(ee_z=0.02), state, here=moved(ee_z=0.0024), now_ns=1020 * MS)
    assert verdict.command.values[2] == pytest.approx(0.0072)


def test_one_ratio_scales_position_and_rotation_together():
    target = moved(ee_x=0.31, ee_y=0.02)
    target[3:7] = turned(0.03)[3:7]
    _, verdict = judge(target)
    out = verdict.command.values
    ratio = (out[0] - 0.3) / 0.01
    assert 0.0 < ratio < 1.0
    assert (out[1] - 0.0) / 0.02 == pytest.approx(ratio)
    assert np.linalg.norm(turn_between(HERE[3:7], out[3:7])) / 0.03 == pytest.approx(ratio)


def test_hold_repeats_the_last_command_for_a_moment_and_then_lets_it_stand():
    state, first = judge(moved(ee_x=0.302))
    sent = first.command.values
    for now_ms, out in ((1020, True), (1480, True), (1500, True), (1520, False), (3000, False)):
        state, verdict = judge(HERE, state, faults=(STALE,), now_ns=now_ms * MS)
        assert verdict.level is Level.HOLD
        assert (verdict.command is not None) == out
        if out:
            assert (verdict.command.values == sent).all()
    assert state.counts["stale_camera"] == 5


def test_a_robot_moved_by_hand_during_a_hold_is_let_go_and_starts_from_where_it_is():
    state, _first = judge(moved(ee_x=0.302))
    away = moved(ee_x=0.45)
    state, verdict = judge(moved(ee_x=0.452), state, here=away, now_ns=9000 * MS)
    assert (verdict.level, codes(verdict), verdict.command) == (Level.HOLD, ["moved_away"], None)
    assert "0.148 m away" in verdict.reasons[0].detail
    assert codes(judge(None, state, here=away, now_ns=9020 * MS)[1]) == ["disengaged"]
    assert state.counts["moved_away"] == 1
    state = guard_state.engage(state)
    _, verdict = judge(moved(ee_x=0.452), state, here=away, now_ns=9100 * MS)
    assert verdict.command.values[0] == pytest.approx(0.452)
    _, verdict = judge(moved(ee_x=0.302), state, here=away, now_ns=9100 * MS)
    assert codes(verdict) == ["start_jump"]
    assert verdict.command is None


def test_a_moving_robot_may_lag_but_not_be_elsewhere_for_half_a_second():
    state, elsewhere = engaged(), moved(ee_y=0.1)
    ends = []
    for tick in range(40):
        target = moved(ee_x=0.3 + 0.001 * tick)
        here = elsewhere if tick > 10 else HERE
        state, verdict = judge(target, state, here=here, now_ns=1000 * MS + tick * PERIOD)
        if codes(verdict) == ["moved_away"]:
            ends.append(tick)
    assert ends == [11 + 25]
    assert not state.engaged
    lagging, state = moved(ee_x=0.23), engaged()  # 0.07 m behind at 0.05 m/s and at rest
    for tick in range(100):
        target = moved(ee_x=0.3 + 0.001 * tick)
        here = target - (HERE - lagging) if tick > 70 else HERE
        state, verdict = judge(target, state, here=here, now_ns=1000 * MS + tick * PERIOD)
        assert verdict.command is not None


def test_speed_limits_grow_from_nothing_after_engaging():
    state, here, arm, out = engaged(), HERE, robot("vx300s", fade_s=0.5), []
    for tick in range(30):
        target = moved(ee_x=0.34 + 0.005 * tick)
        state, verdict = judge(
            target, state, here=here, now_ns=1000 * MS + tick * PERIOD, robot=arm
        )
        out.append(verdict.command.values[0])
        assert verdict.level is Level.SLOW
        here = verdict.command.values
    speed = np.diff([0.3, *out]) / 0.02
    assert speed[:25] == pytest.approx(0.5 * np.arange(1, 26) / 25)
    assert speed[25:] == pytest.approx(0.5)
    assert state.counts["engage_fade"] == 24
    state = guard_state.engage(state)
    _, verdict = judge(moved(ee_x=out[-1] + 0.03), state, here=here, robot=arm)
    assert verdict.command.values[0] - out[-1] == pytest.approx(0.02 * 0.02)


def test_speed_builds_up_with_the_acceleration_and_stays_at_its_limit():
    state, here, out = engaged(), HERE, []
    for tick in range(20):
        target = moved(ee_x=0.6) if tick else moved(ee_x=0.34)
        state, verdict = judge(target, state, here=here, now_ns=1000 * MS + tick * PERIOD)
        out.append(verdict.command.values[0])
    speed = np.diff([0.3, *out]) / 0.02
    # 6 m/s^2 for 20 ms are 0.12 m/s more each tick, up to 0.5 m/s
    assert speed[:6] == pytest.approx([0.12, 0.24, 0.36, 0.48, 0.5, 0.5])


@pytest.mark.parametrize(
    ("elapsed_ms", "way_mm"), [(0, 0.0), (10, 0.6), (40, 9.6), (41, 2.4), (5000, 2.4)]
)
def test_a_late_tick_makes_up_for_two_periods_at_most_and_from_rest_for_one(elapsed_ms, way_mm):
    state, _ = judge(HERE)
    _, verdict = judge(moved(ee_x=0.34), state, now_ns=(1000 + elapsed_ms) * MS)
    assert (verdict.command.values[0] - 0.3) * 1000 == pytest.approx(way_mm)


def test_ratios():
    step = np.array([3.0, 4.0])
    assert speed_ratio(step, 1.0, 1.0) == pytest.approx(0.2)
    assert speed_ratio(step, 5.0, 1.0) == 1.0
    assert joint_speed_ratio(step, np.array([3.0, 1.0]), 1.0) == pytest.approx(0.25)
    x = np.array([1.0, 0.0])
    assert acceleration_ratio(x, 0 * x, 0.25, 1.0) == pytest.approx(0.25)
    assert acceleration_ratio(x, 0.5 * x, 0.25, 1.0) == pytest.approx(0.75)
    assert acceleration_ratio(x, 2.0 * x, 0.25, 1.0) == 1.0  # braking is always allowed
    assert acceleration_ratio(x, -2.0 * x, 0.25, 1.0) == 0.0  # turning back: stop first
    assert acceleration_ratio(x, np.array([0.0, 3.0]), 0.25, 1.0) == 0.0
    assert acceleration_ratio(x, x, 0.25, 0.0) == 0.0


def test_joint_robot_is_limited_joint_by_joint():
    here = np.zeros(7)
    target = np.array([0.2, 0.1, 0, 0, 0, 0, 0.5])
    _state, verdict = judge(target, robot=JOINT_ARM, here=here)
    out = verdict.command.values
    assert out[0] == pytest.approx(10.0 * 0.02**2)  # 10 rad/s^2 within one tick
    assert out[1] / out[0] == pytest.approx(0.5)
    _, verdict = judge(np.array([0, 1.29, 0, 0, 0, 0, 0.0]), robot=JOINT_ARM, here=here)
    assert codes(verdict)[:1] == ["position"]
    _, verdict = judge(np.array([0, 1.35, 0, 0, 0, 0, 0.0]), robot=JOINT_ARM, here=here)
    assert codes(verdict) == ["position_far"]
    assert "shoulder" in verdict.reasons[0].detail


def assert_within_limits(robot, before, verdict, now_ns):
    command = verdict.command
    if command is None:
        assert verdict.level >= Level.HOLD
        return
    values, layout = command.values, robot.layout
    assert np.isfinite(values).all()
    if verdict.level >= Level.HOLD:  # what was sent last, or nothing, of each arm
        last = dict(zip(layout.names, before.sent.values, strict=True))
        assert [last[name] for name in command.names] == command.values.tolist()
        return
    assert command.names == layout.names
    dt_s = 0.02
    if before.sent is not None:
        dt_s = min(max(now_ns - before.sent.stamp_ns, 0), 2 * PERIOD) / 1e9
    start = before.sent.values if before.sent is not None else None
    if start is not None and displaced(before, now_ns):
        start = None
    for part in layout.parts:
        assert_part_within_limits(part, before, start, values, dt_s)


def assert_part_within_limits(part, before, start, values, dt_s):
    limits, columns = part.limits, part.columns
    if part.lower is not None:
        assert (values[columns] >= part.lower).all()
        assert (values[columns] <= part.upper).all()
    if part.kind == POSE:
        assert (values[part.position] >= limits.workspace.lower).all()
        assert (values[part.position] <= limits.workspace.upper).all()
        assert np.linalg.norm(values[part.rotation]) == pytest.approx(1.0)
    if start is None:
        return
    step = np.abs(values[columns] - start[columns])
    if part.kind == JOINTS:
        assert (step <= limits.joint_speed_per_s * dt_s + 1e-9).all()
    elif part.kind == GRIPPER:
        assert step[0] <= limits.gripper_speed_per_s * dt_s + 1e-9
    else:
        way_m = np.linalg.norm(step[:3])
        assert way_m <= limits.linear_speed_m_s * dt_s + 1e-9
        turn = np.linalg.norm(turn_between(start[part.rotation], values[part.rotation]))
        assert turn <= limits.angular_speed_rad_s * dt_s + 1e-9
        speed = np.linalg.norm(before.sent.velocity[:3])
        assert way_m <= (speed + limits.linear_acceleration_m_s2 * dt_s) * dt_s + 1e-9


def displaced(before, now_ns):
    """The guard may start anew from the measured position only after a rest."""
    return now_ns - before.sent.moved_ns > hold.REPEAT_NS


ODD = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 5e-324, 1e-160, 1e160, 1.7e308, -1.7e308)


def odd_values(rng, base):
    """base with noise of some size, and sometimes values that no policy should give."""
    values = base + rng.normal(size=base.shape) * 10.0 ** rng.integers(-9, 2)
    if rng.random() < 0.5:
        values = base + rng.normal(size=base.shape) * 0.01
    if rng.random() < 0.3:
        where = rng.integers(0, len(base), size=rng.integers(1, 3))
        values[where] = rng.choice(ODD, size=len(where))
    if rng.random() < 0.05:
        return values[: rng.integers(0, len(base) + 1)]
    return np.append(values, 0.0) if rng.random() < 0.02 else values


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("robot", [ARM, JOINT_ARM], ids=["ee_pose", "joint_position"])
@pytest.mark.parametrize(
    "seeds",
    [range(30), pytest.param(range(30, 500), marks=pytest.mark.slow)],
    ids=["first", "rest"],
)
def test_any_input_gives_a_command_within_limits_or_none(robot, seeds):
    """10 000 seeded cases for each robot, in runs of 20 ticks that remember each other."""
    hold = HERE if robot is ARM else np.array([0.1, -0.5, 0.5, 0.0, 0.3, 0.0, 0.5])
    sent = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        state, now_ns, here = engaged(), int(rng.integers(1, 2**50)), hold
        for _ in range(20):
            now_ns += int(rng.choice([PERIOD, PERIOD, PERIOD, 0, 7, 31 * MS, 10**9, -(10**9)]))
            proposed = None if rng.random() < 0.05 else odd_values(rng, here)
            measured = odd_values(rng, here) if rng.random() < 0.2 else here
            faults = (STALE,) if rng.random() < 0.05 else ()
            before = state
            state, verdict = judge(
                proposed, state, here=measured, faults=faults, now_ns=now_ns, robot=robot
            )
            assert_within_limits(robot, before, verdict, now_ns)
            if verdict.command is not None:
                sent += 1
                if verdict.level < Level.HOLD:
                    here = verdict.command.values
    assert sent > 6 * len(seeds)  # the cases are not all refused


numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(numbers, min_size=0, max_size=9), min_size=1, max_size=4),
    st.lists(st.integers(-(2**62), 2**62), min_size=4, max_size=4),
)
def test_any_floats_and_stamps_give_a_command_within_limits_or_none(proposals, stamps):
    state, _ = judge(moved(ee_x=0.302))
    for proposed, now_ns in zip(proposals, stamps, strict=False):
        before = state
        state, verdict = judge(np.array(proposed, dtype=np.float64), state, now_ns=now_ns)
        assert_within_limits(ARM, before, verdict, now_ns)
        assert state.sent is None or np.isfinite(state.sent.values).all()


def test_the_state_is_a_value():
    state = engaged()
    after, _ = judge(moved(ee_x=0.302), state)
    assert state.sent is None
    assert after.sent is not None
    with pytest.raises(TypeError):
        after.counts["x"] = 1
    with pytest.raises(ValueError, match="read-only"):
        after.sent.values[0] = 1.0
