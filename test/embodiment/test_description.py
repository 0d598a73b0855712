"""What a description promises of each kind of part, and what is said where it is missing."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits, load_embodiment
from vla_policy.embodiment.description import GripperJoint
from vla_policy.embodiment.forward_kinematics import ForwardKinematics
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, layout_of
from vla_policy.types import required


def test_what_is_required_is_handed_on_or_named():
    assert required(0.0, "start_jump_m") == 0.0, "nothing but None is missing"
    with pytest.raises(ValueError, match=r"^arm: start_jump_m: got none, expected one$"):
        required(None, "arm: start_jump_m")


@pytest.mark.parametrize(
    ("rates", "given"),
    [
        ("joint_rates", ("joint_speed_per_s", "joint_acceleration_per_s2")),
        ("linear_rates", ("linear_speed_m_s", "linear_acceleration_m_s2")),
        ("angular_rates", ("angular_speed_rad_s", "angular_acceleration_rad_s2")),
    ],
)
def test_rates_are_speed_and_acceleration_and_neither_is_made_up(rates, given):
    limits = GroupLimits(**dict(zip(given, (1.5, 6.0), strict=True)))
    assert getattr(limits, rates) == (1.5, 6.0)
    for missing in given:
        with pytest.raises(ValueError, match=f"^{missing}: got none"):
            getattr(replace(limits, **{missing: None}), rates)


def test_joints_and_grippers_have_a_range_and_a_tool_has_none():
    layout = layout_of(load_embodiment("aloha"))
    lower, upper = layout.of_kind(JOINTS)[0].range
    assert (lower[1], upper[1]) == (-1.85005, 1.25664)
    assert [end.tolist() for end in layout.of_kind(GRIPPER)[0].range] == [[0.0], [1.0]]
    tool = layout_of(load_embodiment("vx300s")).of_kind(POSE)[0]
    with pytest.raises(ValueError, match=f"^{tool.group}: lower: got none"):
        tool.range  # noqa: B018


def test_the_joint_of_a_gripper_says_how_far_it_is_open():
    hand = load_embodiment("aloha").outputs["left_hand"]
    assert hand.gripper_joint == GripperJoint("left/left_finger", closed=0.021, open=0.057)
    upside_down = GripperJoint("finger", closed=0.8, open=0.0)
    assert [upside_down.opening(p) for p in (0.8, 0.2, 0.0)] == pytest.approx([0.0, 0.75, 1.0])
    for opening in np.linspace(-0.1, 1.1, 7):
        assert upside_down.opening(upside_down.position(opening)) == pytest.approx(opening)
    for missing in ("joint", "closed", "open"):
        assert replace(hand, **{missing: None}).gripper_joint is None


def test_kinematics_of_a_robot_without_a_model_is_refused():
    pytest.importorskip("mujoco", reason="comes with requirements/simulation.txt")
    robot = replace(load_embodiment("vx300s"), model=None)
    with pytest.raises(ValueError, match="robot 'vx300s': model: got none, expected one"):
        ForwardKinematics(robot, "ee_gripper_link")
