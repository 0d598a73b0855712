"""Robots with several parts: two arms under one ratio, and velocities that are never held."""

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest

from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, VELOCITY, measured_action
from vla_policy.safety import guard_state
from vla_policy.safety.collisions import Bodies
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.hold import disengage_for, drives, final_command, give_up
from vla_policy.safety.robot import GuardedRobot, robot_of
from vla_policy.types import Level, Reason, RobotState

MS = 1_000_000
CASES = Path(__file__).parents[2] / "benchmarks" / "guard_cases.py"
_spec = importlib.util.spec_from_file_location("guard_cases", CASES)
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

STALE = Reason("stale_camera", "for a test")
ROBOTS = cases.robots()
DRIVEN = ROBOTS["vx300s by velocity, with a base"]
TOOL = RobotState(poses={"ee": np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])})


def two_arms() -> Embodiment:
    """The joint robot of the tests twice, left and right."""
    one = load_embodiment(Path(__file__).parents[1] / "golden" / "joint_robot.yaml")
    names = [f"{side}_{n}" for side in ("left", "right") for n in one.joint_names]
    groups, limits, outputs = [], {}, {}
    for side in ("left", "right"):
        arm, hand = one.actions
        columns = tuple(f"joint.{side}_{n}" for n in one.joint_names)
        groups.append(replace(arm, name=f"{side}_arm", names=columns))
        groups.append(replace(hand, name=f"{side}_hand", names=(f"{side}.gripper",)))
        for group, part in ((groups[-2], "arm"), (groups[-1], "hand")):
            limits[group.name] = one.limits.groups[part]
            outputs[group.name] = replace(one.outputs[part], topic=f"{side}/{part}")
    joints = replace(
        one.joints,
        names=tuple(names),
        lower=np.tile(one.joints.lower, 2),
        upper=np.tile(one.joints.upper, 2),
    )
    return replace(
        one,
        joints=joints,
        actions=tuple(groups),
        limits=replace(one.limits, engage_fade_s=0.0, groups=limits),
        outputs=outputs,
    )


PAIR = robot_of(two_arms())


def step(robot, state, proposed, *, here, now_ms, faults=(), seen=TOOL):
    return check(state, robot, proposed, here=here, seen=seen, faults=faults, now_ns=now_ms * MS)


def test_two_arms_are_described_by_the_names_of_their_columns():
    arms, hands = PAIR.layout.of_kind(JOINTS), PAIR.layout.of_kind(GRIPPER)
    assert [arm.joints for arm in arms] == [tuple(range(6)), tuple(range(6, 12))]
    assert [hand.source for hand in hands] == ["left.gripper", "right.gripper"]
    state = RobotState(np.arange(12.0), 1, grippers={"left.gripper": 0.2, "right.gripper": 0.7})
    action = measured_action(PAIR.layout, state)
    assert action.tolist() == [0, 1, 2, 3, 4, 5, 0.2, 6, 7, 8, 9, 10, 11, 0.7]
    one_hand = RobotState(np.arange(12.0), 1, grippers={"left.gripper": 0.2})
    assert measured_action(PAIR.layout, one_hand) is None


def test_an_arm_that_cannot_come_to_rest_freely_holds_and_so_does_the_other():
    """The left one goes on to rest by itself and is told nothing; the right one hears its setpoint where it stands."""
    pair = two_arms()
    left = replace(pair.outputs["left_arm"], type="joint_trajectory")
    pair = replace(pair, outputs={**pair.outputs, "left_arm": left})
    bodies = create_autospec(Bodies, instance=True)
    bodies.problem.return_value = None
    robot = GuardedRobot(pair, PAIR.layout, bodies)
    goal = np.zeros(14)
    goal[[0, 7]] = 0.3
    state, first = step(
        robot, guard_state.engage(GuardState()), goal, here=np.zeros(14), now_ms=1000
    )
    assert first.level < Level.HOLD
    here = np.array(first.command.values)
    # The setpoint itself is free, what lies behind it is not: of the whole step, a half and a quarter.
    bodies.problem.side_effect = [None, Reason("collision", "plate")] * 6
    state, verdict = step(robot, state, goal, here=here, now_ms=1020)
    assert verdict.level is Level.HOLD
    assert verdict.reasons[-1] == Reason("collision", "coming to rest behind the setpoint, plate")
    repeated = dict(zip(verdict.command.names, verdict.command.values, strict=True))
    right = PAIR.layout.parts[2]
    assert [repeated[name] for name in right.names] == here[right.columns].tolist()
    assert not any(name in repeated for name in PAIR.layout.parts[0].names)
    elsewhere = np.array(here)
    elsewhere[8] += 0.1  # moved by hand, or behind: nothing pulls it back
    _, verdict = step(robot, state, goal, here=elsewhere, now_ms=1040)
    assert verdict.level is Level.HOLD
    assert not any(name in verdict.command.names for name in right.names)


def test_one_ratio_scales_the_joints_of_both_arms():
    here = np.zeros(14)
    target = np.array([0.2, 0, 0, 0, 0, 0, 0.0, 0, 0.05, 0, 0, 0, 0, 0.0])
    _, verdict = step(PAIR, guard_state.engage(GuardState()), target, here=here, now_ms=1000)
    out = verdict.command.values
    assert out[0] == pytest.approx(10.0 * 0.02**2)
    assert out[8] / out[0] == pytest.approx(0.25)  # the other arm waits for the slow one
    target[8] = 9.9
    _, verdict = step(PAIR, guard_state.engage(GuardState()), target, here=here, now_ms=1000)
    assert (verdict.level, verdict.reasons[0].code) == (Level.HOLD, "position_far")
    assert "right_shoulder" in verdict.reasons[0].detail


def driving(ticks=40):
    """State and action after some ticks at 0.3 m/s forward."""
    state, here = guard_state.engage(GuardState()), np.zeros(len(DRIVEN.layout.names))
    target = np.array(here)
    target[DRIVEN.layout.names.index("base.vx")] = 0.3
    for tick in range(ticks):
        state, verdict = step(DRIVEN, state, target, here=here, now_ms=1000 + 20 * tick)
    return state, target, verdict, 1000 + 20 * (ticks - 1)


def base_vx(verdict):
    command = verdict.command
    return float(command.values[command.names.index("base.vx")])


def test_a_velocity_builds_up_within_its_acceleration():
    _, _, verdict, _ = driving(1)
    assert base_vx(verdict) == pytest.approx(0.5 * 0.02 / 0.3)  # fading in
    state, _, verdict, _ = driving()
    assert base_vx(verdict) == pytest.approx(0.3)
    assert state.drive is not None


@pytest.mark.parametrize("how", ["fault", "no plan", "disengage", "stop", "malformed"])
def test_a_velocity_is_brought_to_zero_whatever_happens(how):
    state, target, _, now_ms = driving()
    limit = DRIVEN.embodiment.limits.groups["base"].linear_acceleration_m_s2
    proposed, faults = target, ()
    if how == "fault":
        faults = (STALE,)
    elif how == "no plan":
        proposed = None
    elif how == "malformed":
        proposed = np.full_like(target, np.nan)
    elif how == "disengage":
        state = guard_state.disengage(state)
    else:
        state = guard_state.stop(state, Reason("operator_stop", "for a test"))
    speeds, level = [0.3], Level.HOLD if how != "stop" else Level.STOP
    for tick in range(1, 60):
        state, verdict = step(
            DRIVEN, state, proposed, here=0 * target, now_ms=now_ms + 20 * tick, faults=faults
        )
        assert verdict.level is level
        if verdict.command is None:
            break
        speeds.append(base_vx(verdict))
        if how in ("disengage", "stop"):
            moving = {n for n in verdict.command.names if not n.startswith(("ee.", "base."))}
            assert moving == set()
    assert verdict.command is None  # zero has been repeated for long enough
    drops = -np.diff(speeds)
    assert (drops >= -1e-12).all()
    assert drops.max() <= limit * 0.02 + 1e-9
    assert speeds[-1] == 0.0
    assert 0.4 < 0.02 * speeds.count(0.0) < 0.6


def test_the_last_message_of_all_is_a_velocity_of_zero():
    state, _, _, now_ms = driving()
    last = final_command(state, DRIVEN, now_ms * MS)
    driven = DRIVEN.layout.of_kind(VELOCITY)
    assert last.names == tuple(name for part in driven for name in part.names)
    assert not last.values.any()
    assert final_command(guard_state.engage(GuardState()), DRIVEN, now_ms * MS) is None


@pytest.mark.parametrize("then", ["nothing", "hold", "disengage", "stop", "let go"])
def test_no_position_ever_goes_out_as_the_last_message(then):
    """Whatever was sent, and whatever has become of it since: the robot may have been moved by hand."""
    for name, robot in ROBOTS.items():
        state = guard_state.engage(GuardState())
        here = cases.middle(robot)
        seen = cases.seen(np.random.default_rng(1), robot)
        state, sent = step(robot, state, here, here=here, now_ms=1000, seen=seen)
        assert sent.command is not None, name
        if then == "hold":
            state, _ = step(robot, state, None, here=here, now_ms=1020)
        elif then == "disengage":
            state = guard_state.disengage(state)
        elif then == "stop":
            state = guard_state.stop(state, STALE)
        elif then == "let go":
            state, _ = disengage_for(state, robot, STALE, 1020 * MS)
        assert final_command(state, robot, 1040 * MS) is None, name
        if then in ("disengage", "stop", "let go"):
            assert state.sent is None, "what was sent must never go out again"


def test_a_velocity_that_has_run_down_is_not_commanded_again_at_the_end():
    state, target, _, now_ms = driving()
    state = guard_state.stop(state, STALE)
    while drives(state):
        now_ms += 20
        state, _ = step(DRIVEN, state, None, here=0 * target, now_ms=now_ms)
    assert final_command(state, DRIVEN, now_ms * MS) is None


def test_a_base_that_somebody_else_has_taken_over_is_told_nothing_more():
    state, target, _, now_ms = driving()
    target[DRIVEN.layout.names.index("ee.vx")] = 0.1
    for _ in range(40):
        now_ms += 20
        state, _ = step(DRIVEN, state, target, here=0 * target, now_ms=now_ms)
    state = give_up(state, DRIVEN, frozenset({"base"}))
    state, verdict = disengage_for(state, DRIVEN, STALE, now_ms * MS)
    while verdict.command is not None:
        assert set(verdict.command.names) == set(DRIVEN.layout.names[:6]), "the tool is braked"
        assert not any(n.startswith("base.") for n in verdict.command.names)
        now_ms += 20
        state, verdict = step(DRIVEN, state, None, here=0 * target, now_ms=now_ms)
    assert final_command(state, DRIVEN, now_ms * MS) is None
    assert not guard_state.engage(state).drive.taken


@pytest.mark.parametrize("late_ms", [300, 700])
def test_what_has_stopped_by_its_time_out_is_not_driven_on(late_ms):
    """MoveIt Servo stops after 0.1 s of silence, a base after 0.5 s: from there on it starts from rest."""
    robot = ROBOTS["ur5e_servo"]
    here = np.zeros(len(robot.layout.names))
    target, state, now_ms = np.array(here), guard_state.engage(GuardState()), 1000
    target[0] = 0.2
    seen = RobotState(poses={"ee": np.array([0.0, 0.0, 0.4, 0.0, 0.0, 0.0, 1.0])})
    for _ in range(60):
        now_ms += 20
        state, verdict = step(robot, state, target, here=here, now_ms=now_ms, seen=seen)
    assert verdict.command.values[0] == pytest.approx(0.2)
    now_ms += late_ms
    _, moves = step(robot, state, target, here=here, now_ms=now_ms, seen=seen)
    assert moves.command.values[0] == pytest.approx(1.5 * 0.02), "as from rest"
    _, holds = step(robot, state, None, here=here, now_ms=now_ms, seen=seen)
    assert not holds.command.values[:6].any(), "a hold never starts a motion again"
    driven, target, _, now_ms = driving()
    _, verdict = step(DRIVEN, driven, None, here=0 * target, now_ms=now_ms + late_ms)
    assert (base_vx(verdict) == 0.0) == (late_ms > 500)


def test_a_tool_that_would_leave_the_workspace_by_its_velocity_is_held():
    box = DRIVEN.embodiment.limits.groups["arm"].workspace
    target = np.zeros(len(DRIVEN.layout.names))
    target[0] = 0.3
    edge = RobotState(poses={"ee": np.array([box.upper[0] - 0.001, 0, 0.2, 0, 0, 0, 1.0])})
    state = guard_state.engage(GuardState())
    for tick in range(40):
        state, verdict = step(
            DRIVEN, state, target, here=0 * target, now_ms=1000 + 20 * tick, seen=edge
        )
    assert (verdict.level, verdict.reasons[-1].code) == (Level.HOLD, "workspace_far")
    beyond = RobotState(poses={"ee": np.array([box.upper[0] + 0.1, 0, 0.2, 0, 0, 0, 1.0])})
    _, back = step(
        DRIVEN,
        guard_state.engage(GuardState()),
        -target,
        here=0 * target,
        now_ms=5000,
        seen=beyond,
    )
    assert back.level < Level.HOLD
    _, unknown = step(
        DRIVEN,
        guard_state.engage(GuardState()),
        target,
        here=0 * target,
        now_ms=5000,
        seen=RobotState(),
    )
    assert unknown.reasons[-1].code == "no_position"


def run(robot, name, runs=50):
    counts = Counter()
    with np.errstate(all="ignore"):
        for k in range(runs):
            cases.run_ticks(np.random.default_rng((7, k)), name, robot, counts)
    return counts


@pytest.mark.parametrize("name", sorted(ROBOTS))
def test_anything_at_all_gives_a_command_within_limits_or_none(name):
    """1000 cases for each robot; benchmarks/guard_cases.py runs a million."""
    counts = run(ROBOTS[name], name)
    assert counts["violations"] == 0, [words for words in counts if words.startswith("!")]
    assert counts["with_command"] > 300


def test_the_rules_would_notice_a_guard_that_lets_more_through():
    """The same rules on commands of a robot that was told twice its limits."""
    generous = DRIVEN.embodiment.limits.groups
    doubled = {
        name: replace(g, **{f: 2 * getattr(g, f) for f in _numbers(g)})
        for name, g in generous.items()
    }
    embodiment = replace(
        DRIVEN.embodiment, limits=replace(DRIVEN.embodiment.limits, groups=doubled)
    )
    fast, counts = robot_of(embodiment), Counter()
    state, here = guard_state.engage(GuardState()), np.zeros(len(DRIVEN.layout.names))
    target = np.array(here)
    target[DRIVEN.layout.names.index("base.vx")] = 0.9
    for tick in range(40):
        before = state
        state, verdict = step(fast, state, target, here=here, now_ms=1000 + 20 * tick)
        words = cases.violation(DRIVEN, before, verdict, (1000 + 20 * tick) * MS)
        counts[words] += 1
    assert counts[None] < 40


def _numbers(limits):
    return [
        name
        for name in ("linear_speed_m_s", "linear_acceleration_m_s2", "gripper_speed_per_s")
        if getattr(limits, name) is not None
    ]
