"""Motion from command to command: how long, how much of it, and the step measured again; numbers by hand."""

from unittest.mock import create_autospec

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits, load_embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, VELOCITY, ActionPart, Layout
from vla_policy.safety import guard, guard_state
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.rate_limits import (
    advance,
    arm_motions,
    axes_of,
    motion,
    motion_ratio,
    move_grippers,
    move_velocities,
    rates_of_arms,
    step_problem,
)
from vla_policy.safety.robot import robot_of
from vla_policy.types import Level, RobotState

ARM_LIMITS = GroupLimits(
    joint_speed_per_s=np.array([1.0, 2.0]), joint_acceleration_per_s2=np.array([10.0, 4.0])
)
TOOL_LIMITS = GroupLimits(
    linear_speed_m_s=0.5,
    linear_acceleration_m_s2=5.0,
    angular_speed_rad_s=2.0,
    angular_acceleration_rad_s2=10.0,
)
HAND_LIMITS = GroupLimits(gripper_speed_per_s=4.0)
BASE_LIMITS = GroupLimits(
    linear_speed_m_s=0.5,
    linear_acceleration_m_s2=1.0,
    angular_speed_rad_s=1.0,
    angular_acceleration_rad_s2=2.0,
)
POSE_NAMES = ("ee.x", "ee.y", "ee.z", "ee.qx", "ee.qy", "ee.qz", "ee.qw")
ALL = Layout(
    ("joint.a", "joint.b", *POSE_NAMES, "gripper", "base.vx", "base.vy", "base.wz"),
    (
        ActionPart("arm", JOINTS, slice(0, 2), ("joint.a", "joint.b"), ARM_LIMITS, joints=(0, 1)),
        ActionPart("tool", POSE, slice(2, 9), POSE_NAMES, TOOL_LIMITS, source="ee"),
        ActionPart(
            "hand",
            GRIPPER,
            slice(9, 10),
            ("gripper",),
            HAND_LIMITS,
            source="gripper",
            lower=np.zeros(1),
            upper=np.ones(1),
        ),
        ActionPart(
            "base", VELOCITY, slice(10, 13), ("base.vx", "base.vy", "base.wz"), BASE_LIMITS
        ),
    ),
)
STILL = np.zeros(8)  # of the arms: two joints, and m and rad of a tool
DT_S = 0.1


def action(joints=(0.0, 0.0), place=(0.0, 0.0, 0.0), yaw=0.0, hand=0.5, base=(0.0, 0.0, 0.0)):
    turn = (0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2))
    return np.array([*joints, *place, *turn, hand, *base])


def test_the_motion_of_all_arms_is_one_vector():
    end = action((0.1, -0.2), (1.0, 2.0, 3.0), yaw=0.3, hand=0.9, base=(9.0, 9.0, 9.0))
    found = motion(action((0.3, 0.0), (0.5, 0.5, 0.5)), end, ALL)
    assert found == pytest.approx([-0.2, -0.2, 0.5, 1.5, 2.5, 0.0, 0.0, 0.3])
    shares = {part.group: way.tolist() for part, way in arm_motions(np.arange(8.0), ALL)}
    assert shares == {"arm": [0, 1], "tool": [2, 3, 4, 5, 6, 7]}
    assert motion(np.zeros(1), np.ones(1), Layout(("gripper",), ALL.parts[2:3])).size == 0


def test_advance_moves_each_arm_by_its_step():
    start, target = action((1.0, 1.0), (1.0, 1.0, 1.0), yaw=0.5), action(hand=0.75)
    step = np.array([0.1, -0.1, 0.2, 0.3, 0.4, 0.0, 0.0, 0.25])
    values = advance(start, target, step, 0.5, ALL)
    assert values == pytest.approx(action((1.1, 0.9), (1.2, 1.3, 1.4), yaw=0.75, hand=0.75))
    whole = advance(start, target, step, 1.0, ALL)
    assert (whole == target).all() and whole is not target


@pytest.mark.parametrize(
    ("step", "speed"),
    [
        ([0.1, 0.2, 0, 0, 0, 0, 0, 0], 1.0),  # both joints exactly at their speeds
        ([0.2, 0, 0, 0, 0, 0, 0, 0], 0.5),
        ([0, -0.4, 0, 0, 0, 0, 0, 0], 0.5),
        ([0, 0, 0.03, 0, 0.04, 0, 0, 0], 1.0),
        ([0, 0, 0.06, 0, 0.08, 0, 0, 0], 0.5),
        ([0, 0, 0, 0, 0, 0, 0.12, 0.16], 1.0),
        ([0, 0, 0, 0, 0, 0.8, 0, 0], 0.25),
        ([0.2, 0, 0, 0.2, 0, 0, 0, 0.4], 0.25),  # the slowest of all
        ([0, 0, 0, 0, 0.05, 0.2, 0, 0], 1.0),  # a way and a turn have limits of their own
    ],
)
def test_one_ratio_for_the_speed_of_all_arms(step, speed):
    """Each moves already as fast as it wants to, so that accelerations are no matter."""
    step = np.array(step, float)
    reasons = []
    assert motion_ratio(step, step / DT_S, ALL, DT_S, reasons) == pytest.approx(speed)
    assert [r.code for r in reasons] == (["velocity"] if speed < 1.0 else [])
    assert not any("after engaging" in r.detail for r in reasons)
    # Half of the speed is allowed so soon after engaging.
    reasons = []
    half = motion_ratio(step / 2, step / 2 / DT_S, ALL, DT_S, reasons, share=0.5)
    assert half == pytest.approx(speed)
    assert [r.code for r in reasons] == (["engage_fade"] if speed < 1.0 else [])
    if reasons:
        assert f"scaled to {speed:.0%}" in reasons[0].detail
        assert "of which 50% is allowed so soon after engaging" in reasons[0].detail


@pytest.mark.parametrize(
    ("step", "velocity", "ratio"),
    [
        # In 0.1 s: 1 and 0.4 per s of the joints, 0.5 m/s and 1 rad/s of the tool.
        ([0.1, 0, 0, 0, 0, 0, 0, 0], [0.0] * 8, 1.0),
        ([0, 0.08, 0, 0, 0, 0, 0, 0], [0.0] * 8, 0.5),
        ([0, 0.08, 0, 0, 0, 0, 0, 0], [0, 0.2, 0, 0, 0, 0, 0, 0], 0.75),
        ([0, 0, 0.03, 0.04, 0, 0, 0, 0], [0.0] * 8, 1.0),
        ([0, 0, 0, 0, 0, 0, 0.2, 0], [0.0] * 8, 0.5),
        ([0, 0, 0, 0, 0, 0, 0.2, 0], [0, 0, 0, 0, 0, 0, 0.5, 0], 0.75),
        ([0, 0, 0, 0, 0.05, 0, 0, 0], [0, 0, 0, 0, -0.25, 0, 0, 0], 0.5),
    ],
)
def test_one_ratio_for_the_acceleration_of_all_arms(step, velocity, ratio):
    reasons = []
    found = motion_ratio(np.array(step, float), np.array(velocity, float), ALL, DT_S, reasons)
    assert found == pytest.approx(ratio)
    assert [r.code for r in reasons] == (["acceleration"] if ratio < 1.0 else [])
    if reasons:
        assert f"scaled to {ratio:.0%}" in reasons[0].detail


def test_the_smaller_of_speed_and_acceleration_counts_and_both_are_told():
    reasons = []
    step = np.array([0, 0, 0.2, 0, 0, 0, 0, 0])  # 2 m/s: a quarter is allowed; from rest as well
    assert motion_ratio(step, STILL, ALL, DT_S, reasons) == pytest.approx(0.25)
    assert [r.code for r in reasons] == ["velocity"]
    reasons = []
    step = np.array([0, 0.4, 0, 0, 0, 0, 0, 0])  # 4 rad/s: half for the speed, a tenth from rest
    assert motion_ratio(step, STILL, ALL, DT_S, reasons) == pytest.approx(0.1)
    assert [r.code for r in reasons] == ["velocity", "acceleration"]


@pytest.mark.parametrize(
    ("wanted", "before", "value"),
    [(0.9, 0.5, 0.9), (0.0, 0.5, 0.1), (1.0, 0.5, 0.9), (0.5, 0.5, 0.5)],
)
def test_a_gripper_has_its_own_speed(wanted, before, value):
    values, reasons = action(hand=wanted), []
    move_grippers(values, action(hand=before), ALL, DT_S, reasons)
    assert values == pytest.approx(action(hand=value))
    assert [r.code for r in reasons] == ([] if value == wanted else ["gripper_speed"])
    if reasons:
        assert reasons[0].detail == f"gripper goes to {value:.3f} before {wanted:.3f}"


@pytest.mark.parametrize(
    ("wanted", "before", "value", "codes"),
    [
        # In 0.1 s 0.1 m/s and 0.2 rad/s more; at most 0.5 m/s and 1 rad/s.
        ((0.06, 0.08, 0.2), (0, 0, 0), (0.06, 0.08, 0.2), []),
        ((0.3, 0.4, 1.0), (0.3, 0.4, 1.0), (0.3, 0.4, 1.0), []),
        ((0.6, 0.8, 0), (0.3, 0.4, 0), (0.3, 0.4, 0), ["velocity"]),
        ((0, 0, -3.0), (0, 0, -1.0), (0, 0, -1.0), ["velocity"]),
        ((0.3, 0.4, 0), (0, 0, 0), (0.06, 0.08, 0), ["acceleration"]),
        ((0, 0, 1.0), (0, 0, 0.5), (0, 0, 0.7), ["acceleration"]),
        ((0, 0, 0), (0.3, 0.4, -1.0), (0.24, 0.32, -0.8), ["acceleration", "acceleration"]),
        ((3.0, 0, 0), (0, 0, 0), (0.1, 0, 0), ["velocity", "acceleration"]),
    ],
)
def test_a_velocity_and_its_change_have_limits_of_their_own(wanted, before, value, codes):
    values, reasons = action(base=wanted), []
    move_velocities(values, action(base=before), ALL, DT_S, reasons)
    assert values == pytest.approx(action(base=value))
    assert [r.code for r in reasons] == codes
    assert all(r.detail.startswith("base ") for r in reasons)


def test_a_velocity_grows_from_nothing_after_engaging():
    values, reasons = action(base=(0.5, 0, 0.5)), []
    move_velocities(values, action(base=(0.1, 0, 0.2)), ALL, DT_S, reasons, share=0.25)
    assert values == pytest.approx(action(base=(0.125, 0, 0.25)))
    assert [r.code for r in reasons] == ["velocity", "velocity"]


@pytest.mark.parametrize(
    ("names", "linear"),
    [
        (("ee.vx", "ee.vy", "ee.vz", "ee.wx", "ee.wy", "ee.wz"), 3),
        (("base.vx", "base.vy", "base.wz"), 2),
        (("base.vx", "base.wz"), 1),
        (("w.vx", "w.wz"), 1),  # a base of that name
    ],
)
def test_linear_axes_are_those_before_the_first_turn(names, linear):
    part = ActionPart("base", VELOCITY, slice(4, 4 + len(names)), names, BASE_LIMITS)
    assert axes_of(part) == (
        (slice(4, 4 + linear), 0.5, 1.0),
        (slice(4 + linear, 4 + len(names)), 1.0, 2.0),
    )


MUCH, LITTLE = 1.001, 0.999


@pytest.mark.parametrize(
    ("values", "group"),
    [
        (action((0.1 * LITTLE, 0)), None),
        (action((0.1 * MUCH, 0)), "arm"),
        (action((0, -0.2 * LITTLE)), None),
        (action((0, -0.2 * MUCH)), "arm"),
        (action(place=(0.03 * LITTLE, 0, 0.04 * LITTLE)), None),
        (action(place=(0.03 * MUCH, 0, 0.04 * MUCH)), "tool"),
        (action(yaw=0.2 * LITTLE), None),
        (action(yaw=-0.2 * MUCH), "tool"),
        (action(base=(0.3 * LITTLE, 0.4 * LITTLE, 0)), None),
        (action(base=(0.3 * MUCH, 0.4 * MUCH, 0)), "base"),
        (action(base=(0, 0, -1.0 * LITTLE)), None),
        (action(base=(0, 0, -1.0 * MUCH)), "base"),
    ],
)
def test_the_step_is_measured_again(values, group):
    """A thousandth more than the limits is found, of each kind of part alone."""
    problem = step_problem(action(), values, ALL, DT_S)
    assert (None if problem is None else problem.code) == (None if group is None else "step")
    if problem is not None:
        assert group in problem.detail


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(13))
def test_what_goes_out_is_finite_in_every_column(bad, column):
    values = action()
    values[column] = bad
    problem = step_problem(action(), values, ALL, DT_S)
    assert problem.code == "not_finite"
    assert problem.detail.startswith(f"{ALL.names[column]} of the command")


@pytest.mark.parametrize(("factor", "code"), [(np.nan, "not_finite"), (1.1, "step")])
def test_a_limiter_that_is_broken_is_noticed_before_the_wire(monkeypatch, factor, code):
    """The last check does not trust what the ones before it have computed."""
    arm = robot_of(load_embodiment("vx300s"))
    here = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
    wrong = here * [factor, 1, 1, 1, 1, 1, 1, 1]
    monkeypatch.setattr(guard, "advance", create_autospec(advance, return_value=wrong))
    state, verdict = guard.check(
        guard_state.engage(GuardState()),
        arm,
        here,
        here=here,
        seen=RobotState(),
        faults=(),
        now_ns=10**9,
    )
    assert (verdict.level, verdict.command) == (Level.HOLD, None)
    assert [r.code for r in verdict.reasons] == [code]
    assert state.sent is None


def test_rates_are_motions_of_one_step():
    """0.5 s steps: half of each velocity, in the columns of what moves; turns apart."""
    rates = rates_of_arms(np.arange(1.0, 9.0), ALL, 500_000_000)
    assert rates.linear.tolist() == [[0.5, 1.0, 1.5, 2.0, 2.5, *[0.0] * 8]]
    assert rates.turning.tolist() == [[[3.0, 3.5, 4.0]]]
    joints = Layout(ALL.names[:2], ALL.parts[:1])
    rates = rates_of_arms(np.array([1.0, -2.0]), joints, 100_000_000)
    assert rates.linear == pytest.approx(np.array([[0.1, -0.2]]))
    assert rates.turning.shape == (1, 0, 3)


@pytest.mark.parametrize(
    ("wanted", "before", "value"),
    [(1.0, -0.3, 0.4), (0.0, 1.7, 0.6), (0.9, 1.2, 0.9), (0.3, -9.0, 0.3)],
)
def test_a_gripper_that_is_measured_beyond_its_ends_starts_at_the_end(wanted, before, value):
    values, reasons = action(hand=wanted), []
    move_grippers(values, action(hand=before), ALL, DT_S, reasons)
    assert values[9] == pytest.approx(value)
    assert len(reasons) == (value != wanted)


def test_a_step_at_its_limit_is_not_refused_for_its_rounding():
    """1.1 - 1.0 is more than 0.1 by rounding."""
    place, far = (1.0, 1.0, 1.0), (1.0, 1.0, 1.05)
    assert far[2] - place[2] > 0.05
    assert 1.1 - 1.0 > 0.1
    assert step_problem(action((1.0, 1.0)), action((1.1, 1.2)), ALL, DT_S) is None
    assert step_problem(action(place=place), action(place=far), ALL, DT_S) is None
    assert step_problem(action((1.0, 1.0)), action((1.1 + 2e-9, 1.2)), ALL, DT_S).code == "step"
    assert step_problem(action(), action(yaw=0.2), ALL, DT_S) is None
    assert step_problem(action(), action(base=(0.3, 0.4, 0.0)), ALL, DT_S) is None


def rolled(angle, z=0.0):
    """As action(), turned about x, and up."""
    values = action(place=(0.0, 0.0, z))
    values[5:9] = np.sin(angle / 2), 0.0, 0.0, np.cos(angle / 2)
    return values


def test_a_way_and_a_turn_are_measured_apart():
    assert step_problem(action(), rolled(0.2 * LITTLE, 0.05 * LITTLE), ALL, DT_S) is None
    assert step_problem(action(), rolled(0.2 * MUCH), ALL, DT_S).code == "step"
    assert step_problem(action(), rolled(0.0, 0.05 * MUCH), ALL, DT_S).code == "step"


def test_each_of_two_tools_has_its_own_six():
    names = tuple(f"{side}.{name}" for side in ("left", "right") for name in POSE_NAMES)
    both = Layout(
        names,
        (
            ActionPart("left", POSE, slice(0, 7), names[:7], TOOL_LIMITS, source="left.ee"),
            ActionPart("right", POSE, slice(7, 14), names[7:], TOOL_LIMITS, source="right.ee"),
        ),
    )
    shares = {part.group: way.tolist() for part, way in arm_motions(np.arange(12.0), both)}
    assert shares == {"left": [0, 1, 2, 3, 4, 5], "right": [6, 7, 8, 9, 10, 11]}
    rates = rates_of_arms(np.arange(12.0), both, 1_000_000_000)
    assert rates.linear.tolist() == [[0, 1, 2, 0, 0, 0, 0, 6, 7, 8, 0, 0, 0, 0]]
    assert rates.turning.tolist() == [[[3, 4, 5], [9, 10, 11]]]


def length(vector):
    return float(np.sqrt(sum(v * v for v in vector)))


def kept(share, step, velocity):
    """Whether a share of a step keeps every speed, and speeds nothing up too fast; one axis after the other."""
    new = share * np.array(step) / DT_S
    speeds = [
        abs(new[0]) <= 1.0,
        abs(new[1]) <= 2.0,
        length(new[2:5]) <= 0.5,
        length(new[5:]) <= 2.0,
    ]
    more = new - velocity
    changes = [
        abs(more[0]) <= 1.0,
        abs(more[1]) <= 0.4,
        length(more[2:5]) <= 0.5,
        length(more[5:]) <= 1.0,
    ]
    return all(speeds) and all(changes)


def test_the_ratio_is_the_largest_that_keeps_all_limits():
    """Against a search over shares, for random steps of arms that move nearly in their direction already."""
    rng, below_one = np.random.default_rng(5), 0
    for _ in range(60):
        velocity = rng.normal(size=8) * [0.4, 0.8, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4]
        step = velocity * DT_S * rng.uniform(0.5, 3.0) + rng.normal(size=8) * 1e-3
        shares = [k / 1000 for k in range(1001) if kept(k / 1000, step, velocity)]
        ratio = motion_ratio(step, velocity, ALL, DT_S, [])
        if not shares:
            continue  # braking: nothing keeps the accelerations
        below_one += ratio < 1.0
        assert ratio == pytest.approx(max(shares), abs=1.1e-3)
        assert kept(ratio * (1 - 1e-9), step, velocity)
    assert below_one > 20
