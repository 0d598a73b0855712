"""Paths for displays: poses as they are, joints through the model, what is not sent left out."""

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.runtime.tool_paths import kinematics_of, path_tools, tool_paths, topic_of


def test_poses_and_openings_of_two_arms():
    layout = layout_of(load_embodiment("vx300s_pair"))
    rows = np.arange(3.0 * len(layout.names)).reshape(3, -1)
    left, right = tool_paths(rows, layout, None, {})
    assert (left.tool, right.tool) == ("left.ee", "right.ee")
    names = list(layout.names)
    assert np.array_equal(left.poses[:, 0], rows[:, names.index("left.ee.x")])
    assert np.array_equal(right.poses[:, 6], rows[:, names.index("right.ee.qw")])
    closing = layout_of(load_embodiment("vx300s_pair")).of_kind("gripper")[1]
    column = rows[:, closing.columns.start]
    assert np.array_equal(right.openings, column if closing.opens_up else 1 - column)


def test_rows_without_a_command_for_an_arm_are_left_out():
    layout = layout_of(load_embodiment("vx300s"))
    rows = np.ones((4, len(layout.names)))
    rows[1, 0] = np.nan  # a row in which the arm was sent nothing
    (path,) = tool_paths(rows, layout, None, {})
    assert path.poses.shape == (3, 7) and path.openings.shape == (3,)
    rows[:, :7] = np.nan
    assert tool_paths(rows, layout, None, {}) == ()


def test_joints_go_through_the_kinematics_with_the_others_where_they_are():
    layout = layout_of(load_embodiment("fr3"))
    seen = []

    def pose_of(joints):
        seen.append(joints.copy())
        return np.array([*joints[:3], 0, 0, 0, 1])

    rows = np.arange(2.0 * len(layout.names)).reshape(2, -1)
    (path,) = tool_paths(rows, layout, np.full(7, 9.0), {"ee": pose_of})
    assert np.array_equal(np.array(seen), rows[:, :7])
    assert np.array_equal(path.poses[:, :3], rows[:, :3])
    assert tool_paths(rows, layout, None, {"ee": pose_of}) == ()  # where it is, is not known


@pytest.mark.parametrize(
    ("robot", "tools"),
    [("vx300s", ("ee",)), ("vx300s_pair", ("left.ee", "right.ee")), ("fr3", ()), ("ur5e_servo", ())],
)  # fmt: skip
def test_tools_with_a_path(robot, tools):
    robot = load_embodiment(robot)
    assert path_tools(robot) == tools
    assert kinematics_of(robot) == {}
    assert topic_of("left.ee") == "left/ee"
