"""What the control node hears of the robot: its newest state, and how old each input is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState

from vla_policy.embodiment import Embodiment
from vla_policy.ros import convert, qos
from vla_policy.ros.policy_inputs import joint_reader
from vla_policy.ros.warn import OnChange
from vla_policy.safety.watchdog import STALE_JOINTS, STALE_POSE, Inputs
from vla_policy.types import Array, RobotState

NS_PER_S = 1_000_000_000


class ControlInputs:
    """Subscriptions of the robot's state and of the cameras' stamps.

    A message that cannot be used counts as not received, and its sentence is the reason when the
    input grows stale. A stamp that does not advance does not make an input younger.
    """

    def __init__(self, node: Node, robot: Embodiment, log: OnChange) -> None:
        self._node, self._robot, self._log = node, robot, log
        self._subscriptions: list[Any] = []
        self._read_names, self._read_joints = joint_reader(robot)
        self.clear()
        self._listen(JointState, robot.joints.topic, self._on_joints)
        if robot.ee_pose is not None:
            self._listen(PoseStamped, robot.ee_pose.topic, self._on_pose)
        for name, camera in robot.cameras.items():
            kind = CompressedImage if camera.type == "compressed" else Image
            self._listen(kind, camera.topic, self._camera_callback(name, camera.topic), raw=True)

    def clear(self) -> None:
        """Forget everything, after the clock went back."""
        self.state = RobotState()
        self._camera_ns: dict[str, int | None] = dict.fromkeys(self._robot.cameras)
        self._errors: dict[str, str] = {}

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def inputs(self) -> Inputs:
        """The stamps of the newest inputs."""
        return Inputs(
            joint_ns=self.state.joint_ns,
            ee_ns=self.state.ee_ns,
            cameras=MappingProxyType(dict(self._camera_ns)),
            errors=MappingProxyType(dict(self._errors)),
        )

    def _listen(
        self, kind: type, topic: str, callback: Callable[[Any], None], *, raw: bool = False
    ) -> None:
        subscription = self._node.create_subscription(kind, topic, callback, qos.SENSOR, raw=raw)
        self._subscriptions.append(subscription)

    def _on_joints(self, msg: JointState) -> None:
        topic = self._robot.joints.topic
        try:
            stamp_ns = convert.header_ns(msg.header, topic)
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
            pose: Array = convert.pose_from_msg(msg, self._robot.base_frame, topic)
        except ValueError as error:
            self._refuse(STALE_POSE, topic, error)
            return
        self._accept(STALE_POSE, topic)
        old = self.state
        if _newer(stamp_ns, old.ee_ns):
            self.state = replace(old, poses={"ee": pose}, ee_ns=stamp_ns)

    def _camera_callback(self, name: str, topic: str) -> Callable[[bytes], None]:
        def receive(data: bytes) -> None:
            try:
                stamp_ns = stamp_of_serialized(data, topic)
            except ValueError as error:
                self._log.problem(topic, "refused", f"ignored: {error}")
                return
            self._log.fine(topic, f"{topic}: accepted again")
            if _newer(stamp_ns, self._camera_ns[name]):
                self._camera_ns[name] = stamp_ns

        return receive

    def _refuse(self, code: str, topic: str, error: ValueError) -> None:
        self._errors[code] = str(error)
        self._log.problem(topic, "refused", f"ignored: {error}")

    def _accept(self, code: str, topic: str) -> None:
        self._errors.pop(code, None)
        self._log.fine(topic, f"{topic}: accepted again")


def stamp_of_serialized(data: bytes, topic: str) -> int:
    """Stamp in ns of a serialized message that begins with a header, without reading the rest.

    CDR puts two bytes of encoding, two of options, then the header: int32 sec, uint32 nanosec.
    Raises ValueError for a message too short or a stamp of zero.
    """
    if len(data) < 12:
        raise ValueError(f"{topic}: got a message of {len(data)} bytes, expected a header")
    little = data[1] & 1
    sec, nanosec = struct.unpack_from("<iI" if little else ">iI", data, 4)
    stamp_ns = sec * NS_PER_S + nanosec
    if not stamp_ns > 0:
        raise ValueError(
            f"{topic}: got stamp {stamp_ns} ns, expected the time of measurement (> 0)"
        )
    return stamp_ns


def _newer(stamp_ns: int, newest_ns: int | None) -> bool:
    return newest_ns is None or stamp_ns > newest_ns
