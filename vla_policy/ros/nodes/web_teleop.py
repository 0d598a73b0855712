"""A person at the operator's page as the device `keyboard`: mode, and motion by keys or touch.

The page itself commands nothing: a teleop node uses what is published here, and only while the
robot is teleoperated; its rows pass the guard like a policy's. Without new motion from the page
the last one becomes stale there, and the robot holds.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from vla_policy.ros.bringup.endpoints import BUTTONS
from vla_policy.ros.nodes.web_calls import called
from vla_policy.ros.process import qos
from vla_policy.teleop.device_file import load_device
from vla_policy.web.panel import Answer, Deed

DEVICE = "keyboard"
AXES = 6
ALONE_S = 1.0  # for this long after its motion, motion of other pages is refused
DONE = {
    "take_over": "a person is in control",
    "hand_back": "the policy is in control",
    "pause": "nobody is in control",
}


class PageTeleop:
    """Publishes manual motion from one page at a time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        device = load_device(DEVICE)
        self._twists = node.create_publisher(TwistStamped, device.topic, qos.SENSOR)
        self._openings = node.create_publisher(Float64, device.gripper_topic, qos.SENSOR)
        self._buttons = {name: node.create_client(Trigger, f"control/{name}") for name in BUTTONS}
        self._lock = threading.Lock()
        self._hand, self._moved_s = "", -math.inf

    def deeds(self) -> dict[str, Deed]:
        """Requests for the page's server. A pause ends motion, and is never too late."""
        return {name: Deed(partial(self._press, name), moves=name != "pause") for name in BUTTONS}

    def drive(self, details: Mapping[str, Any]) -> str | None:
        """Publish manual motion; why not, one sentence.

        details: hand, twist from -1 to 1, opening or None.
        """
        hand, opening = details.get("hand"), details.get("opening")
        twist: Any = details.get("twist")
        if not isinstance(hand, str) or not _shares(twist, AXES, -1.0):
            return f"got {str(twist)[:60]}, expected {AXES} numbers from -1 to 1, and whose hand it is"
        if opening is not None and not _shares([opening], 1, 0.0):
            return f"got the opening {str(opening)[:40]}, expected a number from 0 to 1"
        with self._lock:
            now_s = time.monotonic()
            if hand != self._hand and now_s - self._moved_s < ALONE_S:
                return "another page drives the robot"
            self._hand = hand
            if any(twist) or opening is not None:
                self._moved_s = now_s
        msg = TwistStamped()
        msg.header.stamp = self._node.get_clock().now().to_msg()
        linear, angular = msg.twist.linear, msg.twist.angular
        linear.x, linear.y, linear.z, angular.x, angular.y, angular.z = map(float, twist)
        self._twists.publish(msg)
        if opening is not None:
            self._openings.publish(Float64(data=float(opening)))
        return None

    def _press(self, name: str, details: Mapping[str, Any]) -> Future[Answer]:
        return called(
            self._buttons[name],
            Trigger.Request(),
            lambda r: Answer(r.success, r.message or DONE[name]),
            if_late=partial(self._too_late, name) if name != "pause" else None,
        )

    def _too_late(self, name: str, response: Any) -> None:
        if response.success:
            self._node.get_logger().warning(f"{name} was answered too late: the robot is paused")
            self._buttons["pause"].call_async(Trigger.Request())


def _shares(values: Any, count: int, low: float) -> bool:
    """Whether values are count numbers from low to 1."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(v) in (int, float) and math.isfinite(v) and low <= v <= 1.0 for v in values)
    )
