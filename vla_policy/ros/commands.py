"""The commands to the arm's and the gripper's controllers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64MultiArray

from vla_policy.embodiment import ActionGroup, Embodiment, Output
from vla_policy.layout import opening_of
from vla_policy.ros import convert, qos
from vla_policy.types import Array, Command

ACK_S = 0.2  # how long the last command of all is waited for


class Commands:
    """One publisher per action group. The robot's layout has been found executable before."""

    def __init__(self, node: LifecycleNode, robot: Embodiment) -> None:
        self._node = node
        self._senders: list[tuple[Any, tuple[str, ...], Callable[[Array, int], Any]]] = []
        for group in robot.actions:
            output = robot.outputs[group.name]
            kind, message = _message(robot, group, output)
            publisher = node.create_lifecycle_publisher(kind, output.topic, qos.COMMAND)
            self._senders.append((publisher, group.names, message))

    def send(self, command: Command) -> None:
        """Publish to the controllers that the command is for; nothing while the node is not active."""
        for publisher, names, message in self._senders:
            if names[0] not in command.names:
                continue
            start = command.names.index(names[0])
            values = command.values[start : start + len(names)]
            publisher.publish(message(values, command.stamp_ns))

    def wait(self) -> None:
        """Give the last command a moment to arrive before its publisher goes."""
        for publisher, _, _ in self._senders:
            publisher.wait_for_all_acked(Duration(seconds=ACK_S))

    def close(self) -> None:
        for publisher, _, _ in self._senders:
            self._node.destroy_lifecycle_publisher(publisher)
        self._senders = []


def _message(
    robot: Embodiment, group: ActionGroup, output: Output
) -> tuple[type, Callable[[Array, int], Any]]:
    if group.space == "ee_pose":
        frame = robot.base_frame
        return PoseStamped, lambda values, stamp_ns: convert.pose_to_msg(
            values, stamp_ns=stamp_ns, frame_id=frame
        )
    if group.space in ("ee_twist", "base_twist"):
        frame = group.frame
        return TwistStamped, lambda values, stamp_ns: convert.twist_to_msg(
            group.names, values, stamp_ns=stamp_ns, frame_id=frame
        )
    if group.space == "gripper":
        return Float64MultiArray, lambda values, _: Float64MultiArray(
            data=[_finger_position(float(values[0]), group, output)]
        )
    return Float64MultiArray, lambda values, _: Float64MultiArray(data=values.tolist())


def _finger_position(value: float, group: ActionGroup, output: Output) -> float:
    opening = opening_of(value, group.open == 1.0)
    return output.closed + opening * (output.open - output.closed)
