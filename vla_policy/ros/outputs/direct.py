"""Setpoints as they are: forward command controllers, Cartesian controllers, bases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64MultiArray

from vla_policy.embodiment import ActionGroup, Embodiment, Output
from vla_policy.embodiment.joint_units import to_wire
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, ActionPart, opening_of
from vla_policy.ros.messages import convert
from vla_policy.ros.outputs.sender import Topic
from vla_policy.types import Array

Encode = Callable[[Array, int], Any]


class Direct:
    """One message for each setpoint."""

    def __init__(self, node: LifecycleNode, topic: str, kind: type, encode: Encode) -> None:
        self._topic, self._encode = Topic(node, kind, topic), encode

    def send(self, values: Array, rates: Array, stamp_ns: int) -> None:
        self._topic.publish(self._encode(values, stamp_ns))

    def problem(self) -> str | None:
        return None

    def rest(self) -> None:
        self._topic.rest()

    def close(self) -> None:
        self._topic.close()


def encoder(
    robot: Embodiment, group: ActionGroup, part: ActionPart, output: Output
) -> tuple[type, Encode]:
    """Message type and function for the part: joints, a gripper's joint, a pose or a twist."""
    if part.kind == POSE:
        frame = robot.base_frame
        return PoseStamped, lambda values, stamp_ns: convert.pose_to_msg(
            values, stamp_ns=stamp_ns, frame_id=frame
        )
    if part.kind == JOINTS:
        wire, joints = robot.joints.wire, np.array(part.joints)
        return Float64MultiArray, lambda values, _: Float64MultiArray(
            data=to_wire(wire, values, joints).tolist()
        )
    if part.kind == GRIPPER:
        return Float64MultiArray, lambda values, _: Float64MultiArray(
            data=[gripper_position(float(values[0]), part, output)]
        )
    return TwistStamped, lambda values, stamp_ns: convert.twist_to_msg(
        part.names, values, stamp_ns=stamp_ns, frame_id=group.frame
    )


def gripper_position(value: float, part: ActionPart, output: Output) -> float:
    """Position of the gripper's joint for the value of its column."""
    opening = opening_of(value, part.opens_up)
    return output.closed + opening * (output.open - output.closed)
