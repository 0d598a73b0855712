"""Well formed, inside, near enough: each by numbers that were worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits, Workspace, load_embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, ActionPart, Layout
from vla_policy.safety.robot import robot_of
from vla_policy.safety.setpoint_limits import (
    enters_keep_out,
    inside_limits,
    jump_between,
    near_start,
    tracking_error,
    well_formed,
)

BOX = Workspace(np.array([0.0, -1.0, 0.5]), np.array([1.0, 1.0, 1.5]))
ARM_LIMITS = GroupLimits(start_jump_rad=0.25)
TOOL_LIMITS = GroupLimits(workspace=BOX, start_jump_m=0.05, start_jump_rad=0.25)
POSE_NAMES = ("ee.x", "ee.y", "ee.z", "ee.qx", "ee.qy", "ee.qz", "ee.qw")
ALL = Layout(
    ("joint.a", "joint.b", *POSE_NAMES, "gripper"),
    (
        ActionPart(
            "arm", JOINTS, slice(0, 2), ("joint.a", "joint.b"), ARM_LIMITS,
            joints=(0, 1), lower=np.array([-1.0, 0.0]), upper=np.array([1.0, 2.0]),
        ),
        ActionPart("tool", POSE, slice(2, 9), POSE_NAMES, TOOL_LIMITS, source="ee"),
        ActionPart(
            "hand", GRIPPER, slice(9, 10), ("gripper",), GroupLimits(),
            source="gripper", lower=np.zeros(1), upper=np.ones(1),
        ),
    ),
)  # fmt: skip


def action(joints=(0.0, 1.0), place=(0.5, 0.0, 1.0), yaw=0.0, hand=0.5):
    return np.array([*joints, *place, 0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2), hand])


def codes(reasons):
    return [reason.code for reason in reasons]


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        (np.zeros(9), "width", "got float64[9], expected float64[10]"),
        (np.zeros((1, 10)), "width", "got float64[1, 10]"),
        (action().astype(np.float32), "width", "got float32[10]"),
        ([0.0] * 9, "width", "float64[9]"),
        (action(joints=(np.nan, 1.0)), "not_finite", "joint.a of the setpoint"),
        (action(hand=np.inf), "not_finite", "gripper of the setpoint"),
        (action() * [1, 1, 1, 1, 1, 1, 1, 1, 1.0501, 1], "quaternion", "tool: its norm is 1.05"),
        (action() * [1, 1, 1, 1, 1, 1, 1, 1, 0.9499, 1], "quaternion", "expected 1"),
        (action() * [1, 1, 1, 1, 1, 1, 1, 1, 0.0, 1], "quaternion", "its norm is 0"),
    ],
)
def test_what_is_not_well_formed_is_named(values, code, words):
    reasons = []
    assert well_formed(values, ALL, reasons) is None
    assert codes(reasons) == [code]
    assert words in reasons[0].detail


@pytest.mark.parametrize("norm", [0.9501, 1.0, -1.0, 1.0499])
def test_a_rotation_that_is_nearly_one_is_made_one(norm):
    reasons, values = [], action(yaw=0.5)
    given = np.array(values)
    given[5:9] *= norm
    found = well_formed(given, ALL, reasons)
    assert reasons == []
    assert found == pytest.approx(np.array([*values[:5], *np.sign(norm) * values[5:9], 0.5]))
    assert given[7] == norm * np.sin(0.25), "what was given stays"


@pytest.mark.parametrize(
    ("given", "moved", "code", "words"),
    [
        (action(), action(), None, ""),
        (action((1.0, 0.0), (1.0, -1.0, 0.5), hand=1.0), None, None, ""),  # on every edge
        (action((1.04, 1.0)), action((1.0, 1.0)), "position", "joint.a by 0.040"),
        (action((0.0, -0.04)), action((0.0, 0.0)), "position", "joint.b by 0.040"),
        (action((-1.04, 2.03)), action((-1.0, 2.0)), "position", "joint.a by 0.040, joint.b by 0.030"),
        (action((1.051, 1.0)), "none", "position_far", "joint.a by 0.051"),
        (action((0.0, -0.051)), "none", "position_far", "joint.b by 0.051"),
        (action((1.01, 9.0)), "none", "position_far", "joint.b by 7.000"),
        (action(place=(1.04, 0, 1)), action(place=(1.0, 0, 1)), "workspace", ": x by 0.040"),
        (action(place=(0.5, 0, 0.46)), action(place=(0.5, 0, 0.5)), "workspace", ": z by 0.040"),
        (action(place=(0.5, -1.06, 1)), "none", "workspace_far", ": y by 0.060"),
        (action(hand=1.04), action(hand=1.0), None, ""),  # a policy's rounding: without a word
        (action(hand=-0.04), action(hand=0.0), None, ""),
        (action(hand=1.06), action(hand=1.0), "position", "gripper: outside 0 to 1 by 0.060"),
        (action(hand=-7.0), action(hand=0.0), "position", "outside 0 to 1 by 7.000"),
    ],
)  # fmt: skip
def test_a_target_is_moved_to_the_edge_or_refused(given, moved, code, words):
    reasons, before = [], np.array(given)
    found = inside_limits(given, ALL, reasons)
    assert codes(reasons) == ([] if code is None else [code])
    assert words in "".join(reason.detail for reason in reasons)
    assert (given == before).all(), "what was given stays"
    if isinstance(moved, str):
        assert found is None
    else:
        assert found == pytest.approx(given if moved is None else moved)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ((0.0, 0.0, 1.0), (0.3, 0.0, 1.0), None),
        ((0.0, 0.0, 1.0), (0.5, 0.0, 1.0), "tool would enter keep-out box 0"),
        ((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), "tool would enter keep-out box 0"),  # through it
        ((0.5, 0.0, 1.0), (1.0, 0.0, 1.0), None),  # out of it
        ((0.0, 0.0, 1.0), (0.0, 0.9, 1.0), "tool would enter keep-out box 1"),
    ],
)
def test_a_tool_neither_ends_in_a_keep_out_box_nor_goes_through(start, end, words):
    boxes = (
        Workspace(np.array([0.4, -0.1, 0.9]), np.array([0.6, 0.1, 1.1])),
        Workspace(np.array([-0.1, 0.8, 0.9]), np.array([0.1, 1.0, 1.1])),
    )
    found = enters_keep_out(action(place=start), action(place=end), boxes, ALL)
    assert (None if found is None else (found.code, found.detail)) == (
        None if words is None else ("keep_out", words)
    )


@pytest.mark.parametrize(
    ("here", "target", "code", "words"),
    [
        (action(), action(), None, ""),
        (action((0.0, 1.0)), action((0.24, 0.76)), None, ""),
        (action((0.0, 1.0)), action((0.0, 1.26)), "start_jump", "0.260 away at joint.b, at most 0.25 is"),
        (action((0.0, 1.0)), action((-0.27, 1.26)), "start_jump", "0.270 away at joint.a"),
        (action(), action(place=(0.53, 0.0, 1.039)), None, ""),
        (action(), action(place=(0.53, 0.0, 1.041)), "start_jump", "m away, at most 0.05 m is"),
        (action(), action(yaw=0.24), None, ""),
        (action(), action(yaw=-0.26), "start_jump", "0.260 rad away, at most 0.25 rad is"),
        (action(hand=0.0), action(hand=1.0), None, ""),  # a hand may be anywhere
        (action((1.06, 1.0)), action((1.0, 1.0)), "start_outside", "joint.a by 0.060"),
        (action(place=(0.5, 0, 0.44)), action(place=(0.5, 0, 0.5)), "start_outside", "z by 0.060"),
        (action((1.04, 1.0)), action((1.0, 1.0)), None, ""),  # a little outside: from the edge
    ],
)  # fmt: skip
def test_a_first_command_starts_inside_and_near(here, target, code, words):
    reasons = []
    found = near_start(here, target, ALL, reasons)
    assert codes(reasons) == ([] if code is None else [code])
    assert words in "".join(reason.detail for reason in reasons)
    assert found is (target if code is None else None)


@pytest.mark.parametrize(
    ("here", "velocity", "words"),
    [
        # 0.25 rad and 0.05 m, and as far as it moves in 0.3 s, in whatever direction.
        (action((0.24, 1.0)), None, None),
        (action((0.26, 1.0)), None, "0.260 away at joint.a"),
        (action((0.26, 1.0)), [0, 1, 0, 0, 0, 0, 0, 0], "0.260 away at joint.a, at most 0.25 is"),
        (action((0.54, 1.0)), [1, 0, 0, 0, 0, 0, 0, 0], None),
        (action((-0.54, 1.0)), [1, 0, 0, 0, 0, 0, 0, 0], None),
        (action((0.56, 1.0)), [-1, 0, 0, 0, 0, 0, 0, 0], "at most 0.55 is allowed"),
        (action(place=(0.5, 0.049, 1.0)), None, None),
        (action(place=(0.5, 0.051, 1.0)), None, "0.051 m away, at most 0.05 m"),
        (action(place=(0.5, 0.0, 1.199)), [0, 0, 0.3, 0, -0.4, 0, 0, 0], None),
        (action(place=(0.5, 0.0, 1.201)), [0, 0, 0.3, 0, -0.4, 0, 0, 0], "at most 0.2 m"),
        (action(place=(0.5, 0.0, 1.051)), [0, 0, 0, 0, 0, 1, 1, 1], "at most 0.05 m"),
        (action(yaw=0.54), [0, 0, 0, 0, 0, 0.6, 0, 0.8], None),
        (action(yaw=0.56), [0, 0, 0, 0, 0, 0.6, 0, 0.8], "at most 0.55 rad"),
        (action(yaw=0.26), [0, 0, 1, 1, 1, 0, 0, 0], "at most 0.25 rad"),
    ],
)
def test_an_arm_is_astray_beyond_its_start_jump_and_its_lag(here, velocity, words):
    velocity = None if velocity is None else np.array(velocity, float)
    found = tracking_error(action(), here, velocity, ALL)
    if words is None:
        assert found is None
    else:
        assert words in found


@pytest.mark.parametrize(
    ("given", "moved", "codes_"),
    [
        (action((0.0, -0.05)), action((0.0, 0.0)), ["position"]),
        (action(place=(-0.05, 0, 1)), action(place=(0.0, 0, 1)), ["workspace"]),
        (action(hand=-0.05), action(hand=0.0), []),
        (action(hand=0.0), action(hand=0.0), []),
    ],
)
def test_exactly_at_the_margin_is_still_moved_to_the_edge(given, moved, codes_):
    reasons = []
    assert inside_limits(given, ALL, reasons).tolist() == moved.tolist()
    assert codes(reasons) == codes_


# Numbers that have no rounding.
EXACT = Layout(
    ALL.names,
    (
        replace(ALL.parts[0], limits=GroupLimits(start_jump_rad=0.25)),
        replace(ALL.parts[1], limits=GroupLimits(start_jump_m=0.125, start_jump_rad=8.0)),
        ALL.parts[2],
    ),
)


@pytest.mark.parametrize(
    ("here", "away"),
    [
        (action((0.25, 1.0)), False),
        (action((-0.25, 1.25)), False),
        (action((0.0, 0.75 - 2**-20)), True),
        (action(place=(0.625, 0.0, 1.0)), False),
        (action(place=(0.625 + 2**-20, 0.0, 1.0)), True),
        (action(place=(0.5, np.nan, 1.0)), True),
        (action((np.nan, 1.0)), True),
        (action((0.0, np.nan)), True),
    ],
)
def test_exactly_as_far_as_is_allowed_is_allowed_and_what_is_no_number_is_not(here, away):
    found = tracking_error(action(), here, None, EXACT)
    assert (found is not None) == away
    assert found == jump_between(action(), here, EXACT)


def test_the_joint_that_is_furthest_beyond_what_it_may_is_named():
    """Not the one that is furthest away: a fast joint may lag more."""
    velocity = np.array([2.0, 0, 0, 0, 0, 0, 0, 0])
    found = tracking_error(action((0.0, 1.0)), action((0.8, 1.3)), velocity, ALL)
    assert found == "0.300 away at joint.b, at most 0.25 is allowed"


GOLDEN = Path(__file__).parents[1] / "golden" / "joint_robot.yaml"
BOX_IN_THE_WAY = Workspace(np.array([0.1, 0.1, 0.1]), np.array([0.2, 0.2, 0.2]))


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("vx300s", None),  # by the pose of its tool
        ("ur5e_servo", None),  # by the velocity of its tool
        ("vx300s_mobile", None),
        (
            GOLDEN,
            "robot 'vx300s_joints': limits.keep_out: got boxes that nothing would enforce for arm,",
        ),
        ("tiago", "for arm,"),
        ("aloha", "for left_arm, right_arm,"),
    ],
)
def test_boxes_need_a_tool_or_a_model(name, refused):
    robot = replace(load_embodiment(name), model=None)
    assert robot_of(robot).bodies is None, "without boxes no model is needed"
    boxed = replace(robot, limits=replace(robot.limits, keep_out=(BOX_IN_THE_WAY,)))
    if refused is None:
        assert robot_of(boxed).embodiment is boxed
        return
    with pytest.raises(ValueError) as error:
        robot_of(boxed)
    assert refused in str(error.value)


def test_boxes_of_a_robot_without_an_arm_are_refused():
    robot = replace(load_embodiment("vx300s_mobile"), model=None)
    base = tuple(group for group in robot.actions if group.name == "base")
    limits = replace(
        robot.limits, keep_out=(BOX_IN_THE_WAY,), groups={"base": robot.limits.groups["base"]}
    )
    with pytest.raises(ValueError, match="for a robot without an arm, expected a model"):
        robot_of(replace(robot, actions=base, limits=limits))
