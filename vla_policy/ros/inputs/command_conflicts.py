"""Other publishers on the command topics, and whether the robot's controllers subscribe to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

RECENT_NS = 1_000_000_000  # a publisher that commanded within this time still commands


class CommandConflicts:
    """Listens to a command topic only while it has more publishers than ours.

    A teleoperation node that is merely present does not count; its first message does. publishers: ours.
    """

    def __init__(
        self, node: Node, publishers: Mapping[str, Publisher], quality: QoSProfile
    ) -> None:
        self._node, self._quality = node, quality
        self._publishers = dict(publishers)
        self._subscriptions: dict[str, Subscription[Any]] = {}
        self._own = {topic: self._gids(topic) for topic in self._publishers}
        self._heard: str | None = None
        self._last: tuple[str, int] | None = None

    def heard(self, now_ns: int) -> str | None:
        """The topic on which another publisher has commanded since the last call, or None."""
        for topic in self._publishers:
            alone = self._node.count_publishers(topic) <= 1
            if alone and topic in self._subscriptions:
                self._node.destroy_subscription(self._subscriptions.pop(topic))
            elif not alone and topic not in self._subscriptions:
                self._subscriptions[topic] = self._listen(topic)
        heard, self._heard = self._heard, None
        if heard is not None:
            self._last = heard, now_ns
        return heard

    def against(self, now_ns: int) -> tuple[str, ...]:
        """Reasons not to engage: another publisher commands, or no controller subscribes."""
        found = []
        if self._last is not None and 0 <= now_ns - self._last[1] < RECENT_NS:
            found.append(f"somebody else commands the robot on {self._last[0]}")
        for topic, publisher in self._publishers.items():
            own = topic in self._subscriptions
            if publisher.get_subscription_count() > own:
                continue
            there = self._node.count_subscribers(topic) > own
            why = "its quality of service does not match" if there else "none is there"
            found.append(f"no controller takes commands on {topic}: {why}; see `vla check topics`")
        return tuple(found)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}

    def _listen(self, topic: str) -> Subscription[Any]:
        def receive(_data: bytes, info: Any) -> None:
            gid = gid_of(info)
            if gid is not None and gid not in self._own[topic]:
                self._heard = topic

        kind = self._publishers[topic].msg_type
        return self._node.create_subscription(kind, topic, receive, self._quality, raw=True)

    def _gids(self, topic: str) -> frozenset[bytes]:
        """Of the publishers of this node on topic."""
        own = (self._node.get_name(), self._node.get_namespace())
        found = self._node.get_publishers_info_by_topic(topic)
        return frozenset(
            bytes(i.endpoint_gid) for i in found if (i.node_name, i.node_namespace) == own
        )


def gid_of(info: Any) -> bytes | None:
    """The publisher id of a message, from its MessageInfo; None where the middleware does not provide it."""
    gid = info.get("publisher_gid")
    return None if gid is None else bytes(gid["data"])
