"""The interface of every kind of output."""

from __future__ import annotations

from typing import Protocol

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher

from vla_policy.ros.process import qos
from vla_policy.types import Array

ACK_S = 0.2  # how long the delivery of the last command is waited for


class Sender(Protocol):
    """Sends the commands of one action group to its controller."""

    def send(self, values: Array, rates: Array, stamp_ns: int) -> None:
        """values: float64[n] of the group as it is executed. Nothing while the node is not active.

        rates: float64[n], how fast joints pass through their values, per s.
        """

    def problem(self) -> str | None:
        """Why the controller cannot be commanded now, or None."""

    def rest(self) -> None:
        """After the last command: wait for its delivery, and end motion that would continue."""

    def close(self) -> None:
        """Destroy the endpoints."""


class Topic:
    """A publisher for commands, only open while the node is active."""

    def __init__(self, node: LifecycleNode, kind: type, topic: str) -> None:
        self._node = node
        self._publisher: LifecyclePublisher = node.create_lifecycle_publisher(
            kind, topic, qos.COMMAND
        )

    def publish(self, message: object) -> None:
        """Nothing while the node is not active."""
        self._publisher.publish(message)

    def rest(self) -> None:
        """Wait for the delivery of the last message."""
        self._publisher.wait_for_all_acked(Duration(seconds=ACK_S))

    def close(self) -> None:
        self._node.destroy_lifecycle_publisher(self._publisher)
