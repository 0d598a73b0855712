"""All topics that a recorder receives, as raw bytes, with the publishers' quality of service."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vla_policy.data.bag.qos import Qos
from vla_policy.data.stream_meter import StreamNeed
from vla_policy.data.streams import Decoder, Message
from vla_policy.data.transforms import TF_STATIC
from vla_policy.ros.bringup.endpoints import LATCHED
from vla_policy.ros.process import qos

MOST_STATIC = 100  # messages of /tf_static, each of another publisher, valid at once


class RecordedTopics:
    """Raw subscriptions.

    take is called with each message and its publishers' profiles, drop with a topic and the number
    of its messages lost by the transport.
    Raises ValueError for a type that this ROS lacks, by its topic.
    """

    def __init__(
        self,
        node: Node,
        needs: Iterable[StreamNeed],
        take: Callable[[Message, Sequence[Qos]], None],
        drop: Callable[[str, int], None],
    ) -> None:
        self._node, self._take, self._drop = node, take, drop
        self._decoder = Decoder()
        self._offered: dict[str, tuple[Qos, ...]] = {}
        self._subscriptions: list[Any] = []
        for need in needs:
            try:
                kind = _class_of(need.type)
            except (ModuleNotFoundError, AttributeError) as error:
                if need.required:
                    self.close()
                    raise ValueError(
                        f"{need.topic}: this ROS lacks {need.type}: {error}"
                    ) from error
                node.get_logger().warning(f"{need.topic} is not recorded: no {need.type} here")
                continue
            self._subscriptions.append(self._subscription(need, kind))

    def close(self) -> None:
        """Close the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscription(self, need: StreamNeed, kind: Any) -> Any:
        topic = self._node.resolve_topic_name(need.topic)

        def lost(event: Any) -> None:
            self._drop(topic, int(event.total_count_change))

        events = SubscriptionEventCallbacks(message_lost=lost if need.required else None)
        make = partial(
            self._node.create_subscription,
            *(kind, topic, self._callback(topic, need.type), _profile(need)),
            raw=True,
        )
        try:
            return make(event_callbacks=events)
        except UnsupportedEventTypeError:  # another DDS, which does not count lost messages
            return make()

    def _callback(self, topic: str, kind: str) -> Callable[[bytes], None]:
        def receive(data: bytes) -> None:
            now_ns = self._node.get_clock().now().nanoseconds
            message = self._decoder.message(topic, kind, bytes(data), now_ns)
            self._take(message, self._profiles(topic))

        return receive

    def _profiles(self, topic: str) -> tuple[Qos, ...]:
        """Profiles of a topic's publishers, looked up once, at the first message with one."""
        known = self._offered.get(topic)
        if not known:
            ends = self._node.get_publishers_info_by_topic(topic)
            known = self._offered[topic] = tuple(_as_qos(end.qos_profile) for end in ends)
        return known


def _class_of(type_name: str) -> Any:
    """'std_msgs/msg/String' -> its class."""
    package, _, name = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def _profile(need: StreamNeed) -> QoSProfile:
    """A recorder's profile: no more than the publisher offers, with a queue for busy times."""
    name = need.topic.lstrip("/")
    latched = name in (latched.lstrip("/") for latched in LATCHED) or name == "instruction_outcome"
    reliable = not need.required or need.topic == "control_command"
    if name in ("diagnostics", "tf"):
        return qos.DIAGNOSTICS
    depth = 60 if need.required else 20
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=MOST_STATIC if need.topic == TF_STATIC else depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _as_qos(profile: QoSProfile) -> Qos:
    words = {
        "reliability": profile.reliability,
        "durability": profile.durability,
        "history": profile.history,
        "liveliness": profile.liveliness,
    }
    return Qos(
        **{name: policy.name.lower() for name, policy in words.items()},
        depth=profile.depth,
        deadline_ns=_ns(profile.deadline),
        lifespan_ns=_ns(profile.lifespan),
        lease_ns=_ns(profile.liveliness_lease_duration),
    )


def _ns(duration: Any) -> int:
    return int(duration.nanoseconds)
