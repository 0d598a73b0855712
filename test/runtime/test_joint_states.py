"""Joints by name, in any order, from one or several publishers, in the units of the wire."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.joint_units import calibrated, degrees, from_wire, rate_to_wire, to_wire
from vla_policy.runtime.joint_states import JointStateMerger

ROBOT = load_embodiment(Path(__file__).parents[1] / "golden" / "joint_robot.yaml")
JOINTS = ROBOT.joint_names
MS = 1_000_000


def robot_with(**changes):
    return replace(ROBOT, joints=replace(ROBOT.joints, **changes))


def everything(value=0.1, finger=0.039):
    return ([*reversed(JOINTS), "left_finger", "spare"], [value] * len(JOINTS) + [finger, 9.0])


def test_joints_are_found_by_name_and_the_finger_is_an_opening():
    parts = JointStateMerger(ROBOT)
    assert parts.names == (*(f"joint.{n}" for n in JOINTS), "gripper")
    names = ["left_finger", *reversed(JOINTS)]
    stamp_ns, values = parts.add("joint_states", names, [0.039, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 7)
    assert stamp_ns == 7
    assert values == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.5])
    _, values = parts.add("joint_states", *everything(finger=0.5), 8)
    assert values[-1] == 1.0


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (["waist"], [1.0], "no joint shoulder, .* left_finger; it has waist"),
        ([], [], "no joint waist, .*; it has none"),
        (["a", "b"], [1.0], "1 positions for 2 names"),
        (["a", "b", "a"], [1.0, 2.0, 3.0], "named twice"),
        ([*JOINTS, "left_finger"], [0.0] * 6 + [float("nan")], "left_finger is not finite"),
    ],
)
def test_messages_that_do_not_fit_are_refused(names, positions, words):
    with pytest.raises(ValueError, match=f"joint_states: .*{words}"):
        JointStateMerger(ROBOT).add("joint_states", names, positions, 1)


def test_several_publishers_of_one_topic_are_put_together():
    parts = JointStateMerger(ROBOT)
    with pytest.raises(ValueError, match="no joint left_finger"):
        parts.add("joint_states", JOINTS, [0.2] * 6, 10 * MS)
    stamp_ns, values = parts.add("joint_states", ["left_finger"], [0.057], 30 * MS)
    assert (stamp_ns, values[0], values[-1]) == (10 * MS, 0.2, pytest.approx(1.0))
    stamp_ns, values = parts.add("joint_states", JOINTS, [0.3] * 6, 40 * MS)
    assert (stamp_ns, values[0]) == (30 * MS, 0.3)  # as old as its oldest part


def test_a_publisher_that_falls_silent_is_missed_by_name():
    parts = JointStateMerger(ROBOT)
    parts.add("joint_states", *everything(), 10 * MS)
    late_ns = 10 * MS + round(ROBOT.joints.max_age_s * 1e9) + 1
    with pytest.raises(ValueError, match=r"no joint left_finger; it has wrist_rotate, .*waist"):
        parts.add("joint_states", JOINTS, [0.2] * 6, late_ns)
    parts.clear()
    with pytest.raises(ValueError, match="no joint waist"):
        parts.add("joint_states", ["left_finger"], [0.05], late_ns)


def test_two_arms_whose_joints_have_the_same_names():
    topics = MappingProxyType({"left/joint_states": "left/", "right/joint_states": "right/"})
    two = [f"{side}/{name}" for side in ("left", "right") for name in JOINTS[:2]]
    robot = robot_with(topics=topics, names=tuple(two), lower=np.full(4, -1), upper=np.ones(4))
    robot = replace(robot, actions=())
    parts = JointStateMerger(robot)
    assert parts.add("left/joint_states", JOINTS[:2], [1.0, 2.0], 5) is None
    _, values = parts.add("right/joint_states", JOINTS[:2], [3.0, 4.0], 6)
    assert values.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_degrees_and_calibrated_ranges_on_the_wire():
    parts = JointStateMerger(robot_with(wire=degrees(6)))
    _, values = parts.add("joint_states", *everything(value=90.0), 1)
    assert values[:6] == pytest.approx(np.full(6, np.pi / 2))
    at_low, at_high = np.array([-1.0, 2.0]), np.array([1.0, -2.0])  # the second one runs backwards
    wire = calibrated(-100.0, 100.0, at_low, at_high)
    assert from_wire(wire, np.array([-100.0, -100.0])) == pytest.approx(at_low)
    assert from_wire(wire, np.array([0.0, 50.0])) == pytest.approx([0.0, -1.0])
    positions = np.array([[0.3, -0.7], [0.0, 1.9]])
    assert from_wire(wire, to_wire(wire, positions)) == pytest.approx(positions)
    assert to_wire(wire, np.array([-2.0]), np.array([1])) == pytest.approx([100.0])
    assert rate_to_wire(wire, np.array([0.02]), np.array([1])) == pytest.approx([-1.0])
    assert to_wire(None, positions) is positions
