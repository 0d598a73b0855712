"""What the policy node hears: a subscription and a stream per camera and state topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState

from vla_policy.embodiment import Embodiment
from vla_policy.observe import StateSource, Stream
from vla_policy.ros import convert, qos
from vla_policy.ros.warn import OnChange
from vla_policy.types import Array

POSE_NAMES = ("ee.x", "ee.y", "ee.z", "ee.qx", "ee.qy", "ee.qz", "ee.qw")
Sink = Callable[[Stream[Array], int, Array], None]


class PolicyInputs:
    """Streams of a robot's cameras and state; add: called with (stream, stamp_ns, value) of each.

    A message that cannot be used is told once and counts as not received.
    """

    def __init__(self, node: Node, robot: Embodiment, log: OnChange, add: Sink) -> None:
        self._node, self._log, self._add = node, log, add
        self._subscriptions: list[Any] = []
        self.cameras: dict[str, Stream[Array]] = {}
        for name, camera in robot.cameras.items():
            stream: Stream[Array] = Stream(camera.topic, round(camera.max_age_s * 1e9))
            kind = CompressedImage if camera.type == "compressed" else Image
            self._listen(kind, stream, convert.image_from_msg)
            self.cameras[name] = stream
        joints: Stream[Array] = Stream(robot.joints.topic, round(robot.joints.max_age_s * 1e9))
        names, read_joints = joint_reader(robot)
        self._listen(JointState, joints, read_joints)
        self.states = (StateSource(names, joints),)
        if robot.ee_pose is not None:
            pose: Stream[Array] = Stream(robot.ee_pose.topic, round(robot.ee_pose.max_age_s * 1e9))
            frame = robot.base_frame
            self._listen(
                PoseStamped, pose, lambda msg, topic: convert.pose_from_msg(msg, frame, topic)
            )
            self.states += (StateSource(POSE_NAMES, pose),)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _listen(
        self, kind: type, stream: Stream[Array], read: Callable[[Any, str], Array]
    ) -> None:
        topic = stream.topic

        def receive(msg: Any) -> None:
            try:
                stamp_ns = convert.header_ns(msg.header, topic)
                value = read(msg, topic)
            except ValueError as error:
                self._log.problem(topic, "refused", f"ignored: {error}")
                return
            self._log.fine(topic, f"{topic}: accepted again")
            self._add(stream, stamp_ns, value)

        self._subscriptions.append(
            self._node.create_subscription(kind, topic, receive, qos.SENSOR)
        )


def joint_reader(robot: Embodiment) -> tuple[tuple[str, ...], Callable[[JointState, str], Array]]:
    """State names and the function that reads them from a JointState.

    The gripper's opening (0 closed, 1 open) comes from the position of its joint, if it has one.
    """
    names = tuple(f"joint.{name}" for name in robot.joint_names)
    group = robot.group("gripper")
    hand = robot.outputs[group.name] if group is not None else None
    if hand is None or hand.joint is None:
        return names, lambda msg, topic: convert.joints_from_msg(msg, robot.joint_names, topic)

    def read(msg: JointState, topic: str) -> Array:
        values = convert.joints_from_msg(msg, (*robot.joint_names, hand.joint), topic)
        opening = (values[-1] - hand.closed) / (hand.open - hand.closed)
        return np.append(values[:-1], min(1.0, max(0.0, opening)))

    return (*names, "gripper"), read
