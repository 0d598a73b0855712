"""A mock, and a control node that engages by itself, beside a robot that is there already: real processes."""

import os
import shutil
import subprocess
import time

import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos


@pytest.fixture
def ros_node(ros):
    """A node `driver` that is turned by the test itself: turn_until(condition)."""
    node = Node("driver")

    def turn_until(condition, timeout_s=60.0):
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s
            rclpy.spin_once(node, timeout_sec=0.1)

    node.turn_until = turn_until
    yield node
    node.destroy_node()


@pytest.fixture
def start_mock():
    """start_mock() -> Popen of the mock node, what it prints in its stdout; killed after the test."""
    running = []

    def start():
        program = shutil.which("mock_node")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        running.append(
            subprocess.Popen(
                [program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env=environment, cwd="/",
            )
        )  # fmt: skip
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_a_mock_does_not_start_beside_a_robot(mock_robot, start_mock):
    process = start_mock()
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 2, told
    assert "vx300s is there already: /mock_robot publishes" in told
    assert "set ROS_DOMAIN_ID" in told
    assert "Traceback" not in told


def test_a_mock_starts_beside_a_recorder_that_was_there_first(ros, start_mock):
    controller, recorder = Node("controller"), Node("recorder")
    for node in (controller, recorder):
        node.create_subscription(PoseStamped, "target_pose", print, qos.COMMAND)
    told, _ = start_mock().communicate(timeout=60)
    assert "vx300s is there already: /controller takes commands on target_pose" in told
    controller.destroy_node()
    heard = []
    recorder.create_subscription(JointState, "joint_states", heard.append, qos.STATES)
    process = start_mock()
    while not heard:
        assert process.poll() is None, process.stdout.read()
        rclpy.spin_once(recorder, timeout_sec=0.1)
    recorder.destroy_node()


def test_a_mock_ends_when_a_robot_comes(ros_node, start_mock):
    process = start_mock()
    heard = []
    ros_node.create_subscription(JointState, "joint_states", heard.append, qos.STATES)
    ros_node.turn_until(lambda: heard)
    driver = ros_node.create_publisher(JointState, "joint_states", qos.SENSOR)
    driver.publish(convert.joints_to_msg(["waist"], [0.0], stamp_ns=1))
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "another robot has come: /driver publishes joint_states" in told


def test_a_control_node_that_engages_by_itself_does_not_beside_a_second_robot(
    mock_robot, start_node, shared_nodes
):
    shared_nodes.end()
    second = mock_robot.create_publisher(JointState, "joint_states", qos.SENSOR)
    start_node("control_node", stand_in="mock_robot")
    mock_robot.wait_status(lambda s: s.reason == "disengaged", "a control node with fresh inputs")
    mock_robot.wait_ticks(15)  # more than it waits for others to be heard of
    assert not any(status.engaged for status in mock_robot.statuses)
    mock_robot.send_chunk([0.31] * 10)
    mock_robot.wait_ticks(3)
    assert mock_robot.targets == [], "must not move"
    mock_robot.destroy_publisher(second)
    mock_robot.wait_status(lambda s: s.engaged, "engaged once it is alone")


def test_what_has_engaged_by_itself_lets_go_when_a_second_robot_comes(
    mock_robot, start_node, shared_nodes
):
    shared_nodes.end()
    start_node("control_node", stand_in="mock_robot")
    mock_robot.wait_status(lambda s: s.engaged, "engaged by itself")
    second = mock_robot.create_publisher(JointState, "joint_states", qos.SENSOR)
    mock_robot.wait_status(lambda s: not s.engaged, "let go")
    mock_robot.send_chunk([0.31] * 10)
    mock_robot.wait_ticks(3)
    assert mock_robot.targets == [], "must not move"
    mock_robot.destroy_publisher(second)
    mock_robot.wait_status(lambda s: s.engaged, "engaged again once it is alone")
