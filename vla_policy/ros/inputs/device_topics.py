"""The messages of a teleoperation device as values, each newer than the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool, Float64

from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.teleop.device import (
    BUTTON,
    JOINT_STATES,
    JOY,
    POSE,
    TOPIC,
    TWIST,
    Device,
    DeviceState,
    Heard,
)
from vla_policy.types import Array, readonly

MESSAGES = {JOY: Joy, TWIST: TwistStamped, POSE: PoseStamped, JOINT_STATES: JointState}
BUTTONS_READ = 64  # of a joy message; more are no gamepad


class DeviceTopics:
    """state: the latest values. on_event: called with take_over, hand_back or pause when its button goes down."""

    def __init__(
        self, node: Node, device: Device, log: ChangeLogger, on_event: Callable[[str], None]
    ) -> None:
        self._node, self._device, self._log, self._on_event = node, device, log, on_event
        self.state = DeviceState()
        self._down: tuple[int, ...] | None = None
        hand = device.dead_man
        node.create_subscription(MESSAGES[device.type], device.topic, self._on_motion, qos.SENSOR)
        if hand.how == TOPIC:
            node.create_subscription(Bool, hand.topic, self._on_clutch, qos.SENSOR)
        elif hand.how == BUTTON and hand.topic:
            node.create_subscription(Joy, hand.topic, self._on_buttons, qos.SENSOR)
        if device.gripper_topic:
            node.create_subscription(Float64, device.gripper_topic, self._on_gripper, qos.SENSOR)

    def _on_motion(self, msg: Any) -> None:
        device, topic = self._device, self._device.topic
        try:
            heard = self._heard(msg, topic, values_of(device, msg), self.state.motion)
        except ValueError as error:
            self._log.problem(topic, "refused", f"ignored: {error}")
            return
        self._log.fine(topic, f"{topic}: accepted again")
        self.state = replace(self.state, motion=heard)
        if device.type == JOY and not device.dead_man.topic:
            self.state = replace(self.state, dead_man=heard)
            self._press(heard.buttons)

    def _on_buttons(self, msg: Joy) -> None:
        topic = self._device.dead_man.topic
        try:
            heard = self._heard(msg, topic, readonly([]), self.state.dead_man)
        except ValueError as error:
            self._log.problem(topic, "refused", f"ignored: {error}")
            return
        self._log.fine(topic, f"{topic}: accepted again")
        self.state = replace(self.state, dead_man=heard)
        self._press(heard.buttons)

    def _on_clutch(self, msg: Bool) -> None:
        heard = Heard(self._now_ns(), buttons=(int(msg.data),))
        self.state = replace(self.state, dead_man=heard)

    def _on_gripper(self, msg: Float64) -> None:
        if np.isfinite(msg.data):
            heard = Heard(self._now_ns(), readonly([msg.data]))
            self.state = replace(self.state, gripper=heard)
        else:
            self._log.problem(
                self._device.gripper_topic, "refused", f"ignored: got the opening {msg.data}"
            )

    def _heard(self, msg: Any, topic: str, values: Array, before: Heard | None) -> Heard:
        """Raises ValueError for a stamp that was never set, or does not advance."""
        now_ns = self._now_ns()
        stamp_ns = now_ns if self._device.arrival else convert.header_ns(msg.header, topic)
        if before is not None and stamp_ns <= before.stamp_ns and before.stamp_ns <= now_ns:
            raise ValueError(f"{topic}: got a stamp that is not later than the one before it")
        buttons = tuple(int(b) for b in getattr(msg, "buttons", ())[:BUTTONS_READ])
        return Heard(stamp_ns, values, buttons)

    def _press(self, buttons: tuple[int, ...]) -> None:
        """Buttons that have gone down; those that were down in the first message do not count."""
        before, self._down = self._down, buttons
        if before is None:
            return
        for event, index in self._device.events.items():
            if index < min(len(buttons), len(before)) and buttons[index] and not before[index]:
                self._on_event(event)

    def _now_ns(self) -> int:
        now_ns: int = self._node.get_clock().now().nanoseconds
        return now_ns


def values_of(device: Device, msg: Any) -> Array:
    """The numbers of a message, as in Heard.values. Raises ValueError if some are missing."""
    if device.type == JOY:
        return readonly(msg.axes[:BUTTONS_READ])
    if device.type == TWIST:
        linear, angular = msg.twist.linear, msg.twist.angular
        return readonly([getattr(v, axis) for v in (linear, angular) for axis in "xyz"])
    if device.type == POSE:
        return readonly(convert.pose_from_msg(msg, msg.header.frame_id, device.topic))
    if len(msg.position) < len(msg.name):
        raise ValueError(
            f"{device.topic}: got {len(msg.position)} positions for {len(msg.name)} names"
        )
    known = dict(zip(msg.name, msg.position, strict=False))
    missing = [name for name in device.leader_names if name not in known]
    if missing:
        raise ValueError(
            f"{device.topic}: got the joints {', '.join(msg.name)}, expected also {', '.join(missing)}"
        )
    return readonly([known[name] for name in device.leader_names])
