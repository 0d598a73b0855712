"""The policy node's inputs: a subscription and a sensor buffer per camera and state topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.spaces import POSE_PARTS
from vla_policy.ros.inputs.robot_topics import RobotTopics
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.cdr import pixels_of_serialized, stamp_of_serialized
from vla_policy.runtime.observation import SensorBuffer, StateSource
from vla_policy.types import Array

Sink = Callable[[SensorBuffer[Array], int, Array], None]


class PolicyInputs:
    """Streams of a robot's cameras and state; add: called with (stream, stamp_ns, value) of each.

    A message that cannot be used is reported once and counts as not received.
    """

    def __init__(self, node: Node, robot: Embodiment, log: ChangeLogger, add: Sink) -> None:
        self._node, self._log, self._add = node, log, add
        self._subscriptions: list[Any] = []
        self.cameras: dict[str, SensorBuffer[Array]] = {}
        for name, camera in robot.cameras.items():
            stream: SensorBuffer[Array] = SensorBuffer(camera.topic, round(camera.max_age_s * 1e9))
            self._listen(stream, compressed=camera.type == "compressed")
            self.cameras[name] = stream
        joints: SensorBuffer[Array] = SensorBuffer(
            robot.joints.topic, round(robot.joints.max_age_s * 1e9)
        )
        self._joints = joints
        self._poses: dict[str, SensorBuffer[Array]] = {
            tool: SensorBuffer(source.topic, round(source.max_age_s * 1e9))
            for tool, source in robot.poses.items()
        }
        self._topics = RobotTopics(node, robot, self)
        self.states = (StateSource(self._topics.joint_columns, joints),)
        for tool, stream in self._poses.items():
            self.states += (StateSource(tuple(f"{tool}.{n}" for n in POSE_PARTS), stream),)

    def close(self) -> None:
        """Stop listening."""
        self._topics.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def on_joints(self, stamp_ns: int, values: Array) -> None:
        self._take(self._joints, stamp_ns, values)

    def on_pose(self, tool: str, stamp_ns: int, pose: Array) -> None:
        self._take(self._poses[tool], stamp_ns, pose)

    def on_refused(self, tool: str | None, topic: str, error: ValueError) -> None:
        stream = self._joints if tool is None else self._poses[tool]
        self._log.problem(stream.topic, "refused", f"ignored: {error}")

    def check_stamp(self, stamp_ns: int, topic: str) -> None:
        """Every stamp is accepted: whether it can be used is decided when an observation is made."""

    def _take(self, stream: SensorBuffer[Array], stamp_ns: int, value: Array) -> None:
        self._log.fine(stream.topic, f"{stream.topic}: accepted again")
        self._add(stream, stamp_ns, value)

    def _listen(self, stream: SensorBuffer[Array], *, compressed: bool) -> None:
        topic = stream.topic

        def receive(data: bytes) -> None:
            try:
                stamp_ns = stamp_of_serialized(data, topic)
                value = pixels_of_serialized(data, topic, compressed=compressed)
                value.setflags(write=False)  # the observations show it, instead of copying it
            except ValueError as error:
                self._log.problem(topic, "refused", f"ignored: {error}")
                return
            self._take(stream, stamp_ns, value)

        kind = CompressedImage if compressed else Image
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, receive, qos.SENSOR, raw=True)
        )
