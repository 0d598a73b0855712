"""Subscriptions to the robot's state: its joints by name, its tools by topic, tf2 or kinematics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from vla_policy.embodiment import Embodiment, PoseSource
from vla_policy.embodiment.forward_kinematics import ForwardKinematics
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.runtime.joint_states import JointStateMerger
from vla_policy.types import Array

TF_HZ = 50.0


class RobotListener(Protocol):
    """Receiver of state updates. An input that cannot be used counts as not received."""

    def on_joints(self, stamp_ns: int, values: Array) -> None:
        """values: float64[j + g] in the order of RobotState.joint_columns."""

    def on_pose(self, tool: str, stamp_ns: int, pose: Array) -> None:
        """pose: float64[7] x y z qx qy qz qw of the tool in the base frame."""

    def on_refused(self, tool: str | None, topic: str, error: ValueError) -> None:
        """tool: None for the joints."""

    def check_stamp(self, stamp_ns: int, topic: str) -> None:
        """Raises ValueError for an impossible stamp."""


class RobotTopics:
    """Subscriptions of joint states and tool poses; each message goes to listener.

    Raises ValueError if a pose is to come from tf2 or a model, and neither is available here.
    """

    def __init__(self, node: Node, robot: Embodiment, listener: RobotListener) -> None:
        self._node, self._robot, self._listener = node, robot, listener
        self._parts = JointStateMerger(robot)
        self.joint_columns = self._parts.names
        self._endpoints: list[tuple[Callable[[Any], Any], Any]] = []
        kinds = {tool: source for tool, source in robot.poses.items() if source.kind == "model"}
        self._models = {t: ForwardKinematics(robot, source.frame) for t, source in kinds.items()}
        for topic in robot.joints.topics:
            self._listen(JointState, topic, self._joint_callback(topic))
        for tool, source in robot.poses.items():
            if source.kind == "topic":
                self._listen(PoseStamped, source.topic, self._pose_callback(tool, source))
        frames = {t: s for t, s in robot.poses.items() if s.kind == "tf"}
        if frames:
            self._transforms = transform_listener(node, robot.name)
            timer = node.create_timer(1.0 / TF_HZ, lambda: self._on_tf(frames))
            self._endpoints.append((node.destroy_timer, timer))

    def clear(self) -> None:
        """Forget everything, after the clock went back."""
        self._parts.clear()

    def close(self) -> None:
        """Stop listening."""
        for destroy, endpoint in self._endpoints:
            destroy(endpoint)
        self._endpoints = []

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        # Several joint state publishers share a topic: each one's message counts.
        profile = qos.STATES if kind is JointState else qos.SENSOR
        subscription = self._node.create_subscription(kind, topic, callback, profile)
        self._endpoints.append((self._node.destroy_subscription, subscription))

    def _joint_callback(self, topic: str) -> Callable[[JointState], None]:
        def receive(msg: JointState) -> None:
            try:
                stamp_ns = convert.header_ns(msg.header, topic)
                self._listener.check_stamp(stamp_ns, topic)
                found = self._parts.add(topic, msg.name, msg.position, stamp_ns)
            except ValueError as error:
                self._listener.on_refused(None, topic, error)
                return
            if found is None:
                return
            oldest_ns, values = found
            self._listener.on_joints(oldest_ns, values)
            for tool, kinematics in self._models.items():
                joints = values[: len(self._robot.joint_names)]
                self._listener.on_pose(tool, oldest_ns, kinematics.pose(joints))

        return receive

    def _pose_callback(self, tool: str, source: PoseSource) -> Callable[[PoseStamped], None]:
        def receive(msg: PoseStamped) -> None:
            try:
                stamp_ns = convert.header_ns(msg.header, source.topic)
                self._listener.check_stamp(stamp_ns, source.topic)
                pose = convert.pose_from_msg(msg, self._robot.base_frame, source.topic)
            except ValueError as error:
                self._listener.on_refused(tool, source.topic, error)
                return
            self._listener.on_pose(tool, stamp_ns, pose)

        return receive

    def _on_tf(self, frames: dict[str, PoseSource]) -> None:
        buffer, when, failures = self._transforms
        for tool, source in frames.items():
            try:
                found = buffer.lookup_transform(self._robot.base_frame, source.frame, when)
                stamp_ns = convert.header_ns(found.header, source.topic)
                self._listener.check_stamp(stamp_ns, source.topic)
            except (failures, ValueError) as error:
                known = buffer.all_frames_as_string().strip() or "none"
                words = f"{source.topic} in {self._robot.base_frame}: {error}; frames: {known}"
                self._listener.on_refused(tool, source.topic, ValueError(words))
                continue
            p, q = found.transform.translation, found.transform.rotation
            pose = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
            pose[3:] /= np.linalg.norm(pose[3:])
            self._listener.on_pose(tool, stamp_ns, pose)


def transform_listener(node: Node, robot: str) -> tuple[Any, Any, type[Exception]]:
    """(buffer that listens, the newest time, its exception); the only place that imports tf2_ros."""
    try:
        import tf2_ros
    except ModuleNotFoundError as error:
        raise ValueError(
            f"robot {robot!r}: the pose comes from tf, but this ROS lacks tf2_ros; install "
            "ros-$ROS_DISTRO-tf2-ros-py, or give ee_pose a topic or model_body"
        ) from error
    from rclpy.time import Time

    buffer = tf2_ros.Buffer()
    buffer.listener = tf2_ros.TransformListener(buffer, node)
    return buffer, Time(), tf2_ros.TransformException
