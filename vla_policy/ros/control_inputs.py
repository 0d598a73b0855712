"""What the control node hears of the robot: its newest state, and how old each input is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from vla_policy.embodiment import Embodiment
from vla_policy.ros import convert, qos
from vla_policy.ros.control_cameras import ControlCameras, require_past
from vla_policy.ros.policy_inputs import joint_reader
from vla_policy.ros.warn import OnChange
from vla_policy.safety.watchdog import STALE_JOINTS, STALE_POSE, Inputs
from vla_policy.types import Array, RobotState


class ControlInputs:
    """Subscriptions of the robot's state and of the cameras' stamps.

    A message that cannot be used counts as not received, and its sentence is the reason when the
    input grows stale. A stamp that does not advance does not make an input younger.
    """

    def __init__(self, node: Node, robot: Embodiment, log: OnChange) -> None:
        self._node, self._robot, self._log = node, robot, log
        self._subscriptions: list[Any] = []
        self._read_names, self._read_joints = joint_reader(robot)
        self._cameras = ControlCameras(
            node, robot, log, joints=lambda: self.state.joint_positions, now_ns=self._now_ns
        )
        self.clear()
        self._listen(JointState, robot.joints.topic, self._on_joints)
        if robot.ee_pose is not None:
            self._listen(PoseStamped, robot.ee_pose.topic, self._on_pose)

    def clear(self) -> None:
        """Forget everything, after the clock jumped."""
        self.state = RobotState()
        self._cameras.clear()
        self._errors: dict[str, str] = {}

    def close(self) -> None:
        """Stop listening."""
        self._cameras.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def inputs(self) -> Inputs:
        """The stamps of the newest inputs."""
        return Inputs(
            joint_ns=self.state.joint_ns,
            ee_ns=self.state.ee_ns,
            cameras=MappingProxyType(self._cameras.stamps()),
            still=MappingProxyType(self._cameras.still()),
            errors=MappingProxyType(dict(self._errors)),
        )

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None]) -> None:
        subscription = self._node.create_subscription(kind, topic, callback, qos.SENSOR)
        self._subscriptions.append(subscription)

    def _on_joints(self, msg: JointState) -> None:
        topic = self._robot.joints.topic
        try:
            stamp_ns = convert.header_ns(msg.header, topic)
            require_past(stamp_ns, self._now_ns(), topic)
            values = self._read_joints(msg, topic)
        except ValueError as error:
            self._refuse(STALE_JOINTS, topic, error)
            return
        self._accept(STALE_JOINTS, topic)
        old = self.state
        if not _newer(stamp_ns, old.joint_ns):
            return
        joints = len(self._robot.joint_names)
        read = zip(self._read_names[joints:], values[joints:], strict=True)
        grippers = {name: float(opening) for name, opening in read}
        self.state = RobotState(values[:joints], stamp_ns, old.poses, old.ee_ns, grippers)

    def _on_pose(self, msg: PoseStamped) -> None:
        topic = self._robot.ee_pose.topic
        try:
            stamp_ns = convert.header_ns(msg.header, topic)
            require_past(stamp_ns, self._now_ns(), topic)
            pose: Array = convert.pose_from_msg(msg, self._robot.base_frame, topic)
        except ValueError as error:
            self._refuse(STALE_POSE, topic, error)
            return
        self._accept(STALE_POSE, topic)
        old = self.state
        if _newer(stamp_ns, old.ee_ns):
            self.state = replace(old, poses={"ee": pose}, ee_ns=stamp_ns)

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _refuse(self, code: str, topic: str, error: ValueError) -> None:
        self._errors[code] = str(error)
        self._log.problem(topic, "refused", f"ignored: {error}")

    def _accept(self, code: str, topic: str) -> None:
        self._errors.pop(code, None)
        self._log.fine(topic, f"{topic}: accepted again")


def _newer(stamp_ns: int, newest_ns: int | None) -> bool:
    return newest_ns is None or stamp_ns > newest_ns
