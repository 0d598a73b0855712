"""Where the robot is, as a listener measures it that another thread already serves while it is made."""

from unittest.mock import create_autospec

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402

from vla_policy.embodiment import load_embodiment  # noqa: E402
from vla_policy.embodiment.layout import layout_of  # noqa: E402
from vla_policy.ros.inputs import measured_action  # noqa: E402
from vla_policy.ros.inputs.robot_topics import RobotTopics  # noqa: E402
from vla_policy.ros.process.change_log import ChangeLogger  # noqa: E402


def test_joints_that_come_while_it_is_made_are_left_out(monkeypatch):
    robot = load_embodiment("vx300s")
    values = np.zeros(len(robot.joint_names) + 1)

    def subscribed(node, robot, listener):
        listener.on_joints(1, values)  # from the thread that spins the node
        return create_autospec(
            RobotTopics, instance=True, joint_columns=(*robot.joint_names, "gripper")
        )

    monkeypatch.setattr(
        measured_action, "RobotTopics", create_autospec(RobotTopics, side_effect=subscribed)
    )
    measured = measured_action.MeasuredAction(
        create_autospec(Node, instance=True), robot, create_autospec(ChangeLogger, instance=True)
    )
    assert measured.joints is None and measured.action(layout_of(robot), 2) is None
    measured.on_joints(2, values)
    assert measured.joints is not None
