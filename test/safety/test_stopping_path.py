"""What lies behind a setpoint of a trajectory: which configurations are looked at, by hand."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.safety import guard_state
from vla_policy.safety.collisions import Bodies
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.stopping_path import blocked_beyond, ranges_ratio, rates_of, ways_of
from vla_policy.types import Level, Reason, RobotState

SEEN = RobotState(np.zeros(6), 1)
VALUES = np.array([0.1, -0.2, 0.0, 0.0, 0.0, 0.0, 0.5])


def arm(output="joint_trajectory", problems=lambda values: None):
    """The joint robot at 50 Hz, 1 rad/s and 10 rad/s^2, with bodies of which problems says what is wrong."""
    one = load_embodiment(Path(__file__).parents[1] / "golden" / "joint_robot.yaml")
    outputs = {**one.outputs, "arm": replace(one.outputs["arm"], type=output)}
    bodies = create_autospec(Bodies, instance=True)
    bodies.problem.side_effect = lambda seen, values: problems(values)
    robot = replace(one, outputs=outputs)
    return GuardedRobot(robot, layout_of(robot), bodies)


def rates(*joints):
    return np.array([*joints, *[0.0] * (7 - len(joints))])


def behind(robot, passing):
    return blocked_beyond(robot, VALUES, ways_of(robot, VALUES, passing), SEEN)


def asked(robot):
    return [call.args[1].tolist() for call in robot.bodies.problem.call_args_list]


def test_the_middle_and_the_end_of_the_way_to_rest_are_looked_at():
    robot = arm()
    assert behind(robot, rates(0.8, -0.4)) is None
    # From 0.8 rad/s with 10 rad/s^2: 80 ms, half of 0.8 rad/s on the average, so 0.032 rad.
    first, last = VALUES + rates(0.016, -0.008), VALUES + rates(0.032, -0.016)
    assert asked(robot) == [pytest.approx(first.tolist()), pytest.approx(last.tolist())]
    assert all(call.args[0] is SEEN for call in robot.bodies.problem.call_args_list)


@pytest.mark.parametrize(
    ("from_rad", "to_rad", "blocked"),
    [
        (0.110, 0.120, True),  # only in the middle: a thin plate
        (0.130, 0.140, True),  # only at the end
        (0.140, 0.190, False),  # behind it
        (0.090, 0.100, False),  # the setpoint itself is another check's
    ],
)
def test_what_is_in_the_way_to_rest_blocks(from_rad, to_rad, blocked):
    plate = Reason("collision", "gripper and plate would be 0 mm apart")
    robot = arm(problems=lambda values: plate if from_rad < values[0] < to_rad else None)
    found = behind(robot, rates(0.8))
    assert (found is not None) == blocked
    if blocked:
        assert found == Reason("collision", f"coming to rest behind the setpoint, {plate.detail}")


def test_an_output_that_stops_at_the_setpoint_has_nothing_behind_it():
    robot = arm("float64_multi_array")
    assert behind(robot, rates(0.8)) is None
    assert asked(robot) == []


def test_an_arm_that_passes_with_no_speed_has_nothing_behind_it():
    robot = arm(problems=lambda values: Reason("collision", "for a test"))
    assert behind(robot, rates(0.0)) is None
    assert behind(replace(robot, bodies=None), rates(0.8)) is None


def test_rates_are_those_of_joints_alone():
    robot = arm()
    assert rates_of(np.arange(1.0, 7.0), robot.layout).tolist() == [1, 2, 3, 4, 5, 6, 0]
    tool = layout_of(load_embodiment("vx300s"))
    assert rates_of(np.ones(6), tool).tolist() == [0.0] * 8


@pytest.mark.parametrize(
    ("blocked", "made"),
    [((), 1.0), ((1.0,), 0.5), ((1.0, 0.5), 0.25), ((1.0, 0.5, 0.25), None)],
)
def test_a_step_is_halved_until_the_way_to_rest_behind_it_is_free(blocked, made):
    """blocked: shares of the first step with a thin plate in the way to rest behind them; made: what is commanded."""
    places = []
    plate = Reason("collision", "plate")
    robot = arm(
        problems=lambda values: (
            plate if np.abs(np.subtract(places, values[0])).min() < 1e-6 else None
        )
    )

    def first():
        state = guard_state.engage(GuardState())
        return check(
            state, robot, rates(0.3), here=np.zeros(7), seen=SEEN, faults=(), now_ns=10**9
        )

    places = [np.inf]
    state, verdict = first()
    full, rest = verdict.command.values[0], state.sent.ways["arm"].positions[-1][0]
    assert 0.0 < full < rest - 1e-4
    places += [share * (full + rest) / 2 for share in blocked]
    state, verdict = first()
    if made is None:
        assert verdict.level is Level.HOLD and state.sent is None
        assert verdict.reasons[-1].detail == "coming to rest behind the setpoint, plate"
    else:
        assert verdict.command.values[0] == pytest.approx(made * full)
        codes = [reason.code for reason in verdict.reasons]
        assert ("collision" in codes) == bool(blocked)


def test_at_full_speed_towards_the_end_of_a_range_the_arm_brakes_in_time():
    """Else the velocity of the setpoint is cut to what still stops, and a cubic to it goes faster in its middle."""
    robot = replace(arm(), bodies=None)
    part = robot.layout.parts[0]
    here = np.zeros(7)
    state, now_ns, cut, told = guard_state.engage(GuardState()), 10**9, 0.0, []
    for _ in range(250):
        now_ns += robot.embodiment.period_ns
        target = np.array(here)
        target[:3] = np.minimum(part.upper[:3], here[:3] + 0.25)
        before = np.array(here)
        state, verdict = check(
            state, robot, target, here=here, seen=RobotState(), faults=(), now_ns=now_ns
        )
        here = np.array(verdict.command.values)
        told += [r.detail for r in verdict.reasons if r.code == "position"]
        asked = (here - before)[part.columns] / 0.02
        cut = max(cut, float(np.abs(asked - state.sent.ways["arm"].velocities[0]).max()))
    assert cut < 1e-9
    assert any("come to rest inside the joint ranges" in detail for detail in told)
    np.testing.assert_allclose(here[:3], part.upper[:3], atol=2e-3)


def test_an_output_without_a_way_to_rest_goes_up_to_the_end_of_its_range():
    robot = arm("float64_multi_array")
    start = np.zeros(7)
    start[0] = robot.layout.parts[0].upper[0] - 0.02
    step = np.array([0.02, 0, 0, 0, 0, 0])
    assert ranges_ratio(robot, start, step, 0.02) == 1.0
    assert ranges_ratio(arm(), start, step, 0.02) < 0.6
    assert ranges_ratio(arm(), start, -step, 0.02) == 1.0
    assert ranges_ratio(arm(), start, 0.0 * step, 0.02) == 1.0


@pytest.mark.parametrize(("joint", "end"), [(0, 1.0), (1, -1.0)])
@pytest.mark.parametrize("inside_rad", [0.3, 0.05, 0.01, -0.01])
def test_the_room_of_a_joint_is_up_to_the_end_to_which_it_goes(joint, end, inside_rad):
    """Where it stands outside already, it has the room of its step."""
    robot = arm()
    part = robot.layout.parts[0]
    start, step = np.zeros(7), np.zeros(6)
    bound = part.upper[joint] if end > 0 else part.lower[joint]
    start[joint], step[joint] = bound - end * inside_rad, end * 0.02
    ratio = ranges_ratio(robot, start, step, 0.02)
    room = max(inside_rad, 0.02)
    shares = [k / 1000 for k in range(1, 1001)]
    # 1 rad/s for 0.02 s, then to rest with 10 rad/s^2; two periods at least, as a cubic.
    free = [s for s in shares if 0.02 * s + 0.05 * s * s <= room and s * (0.02 + 0.04 / 3) <= room]
    assert ratio == pytest.approx(max(free), abs=2e-3)
