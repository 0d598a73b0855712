"""Whether a simulated robot is the only one: a real robot in the same domain uses the same topics."""

from __future__ import annotations

import time
from collections.abc import Collection

from rclpy.node import Node

from vla_policy.embodiment import Embodiment
from vla_policy.ros.bringup.endpoints import command_topics, state_topics

DISCOVERY_S = 1.5  # until endpoints on the network are discovered
NAME_S = 5.0  # until a discovered endpoint has the name of its node
POLL_S = 0.1
UNKNOWN = "_NODE_NAME_UNKNOWN_"  # of a node that is not discovered yet
AGAIN_NS = 500_000_000  # between two checks
# Prefixes of the names of nodes that only observe.
WATCHERS = ("_ros2cli", "rosbag2", "rviz", "rqt", "foxglove", "plotjuggler")
OBSERVERS = ("recorder", "black_box")  # of this package: they hear the commands and move nothing
ADVICE = "a mock or simulation must not share a ROS domain with a real robot: set ROS_DOMAIN_ID"


def foreign_state_publisher(
    node: Node, robot: Embodiment, own: Collection[str] = ()
) -> str | None:
    """A sentence on a node other than own that publishes this robot's state, or None.

    own: full names. One of them with two such publishers is two nodes of one name.
    """
    for topic in dict.fromkeys(name for name, _ in state_topics(robot)):
        found = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
        names = [_full(info.node_namespace, info.node_name) for info in found]
        for name in names:
            if name not in own or names.count(name) > 1:
                return f"{name} publishes {topic}; {ADVICE}"
    return None


def foreign_command_subscriber(
    node: Node, robot: Embodiment, own: Collection[str] = ()
) -> str | None:
    """A sentence on a node other than own that takes this robot's commands, or None."""
    for topic, kind in command_topics(robot):
        if "/action/" in kind:  # an action server publishes the status of its goals
            status = node.resolve_topic_name(f"{topic}/_action/status")
            found = node.get_publishers_info_by_topic(status)
        else:
            found = node.get_subscriptions_info_by_topic(node.resolve_topic_name(topic))
        for info in found:
            name = _full(info.node_namespace, info.node_name)
            only_hears = info.node_name in OBSERVERS or info.node_name.startswith(WATCHERS)
            if name not in own and not only_hears:
                return f"{name} takes commands on {topic}; {ADVICE}"
    return None


def require_alone(node: Node, robot: Embodiment) -> None:
    """Wait for the discovery; raises ValueError if another node publishes the state or subscribes to the commands."""
    start, found = time.monotonic(), None
    # An endpoint is discovered before the name of its node, which is worth some more time.
    while time.monotonic() < start + (DISCOVERY_S if found is None else NAME_S):
        found = foreign_state_publisher(node, robot) or foreign_command_subscriber(node, robot)
        if found is not None and UNKNOWN not in found:
            break
        time.sleep(POLL_S)
    if found is not None:
        raise ValueError(f"{robot.name} is there already: {found}")


class SimulatedRobotGuard:
    """The node that plays the robot, and whether it is still the only one."""

    def __init__(self, node: Node, robot: Embodiment, name: str) -> None:
        self._node, self._robot = node, robot
        space = node.get_namespace()
        self._player = _full(space, name)
        self._own = (self._player, _full(space, node.get_name()))
        self._next_ns: int | None = None
        self._found: str | None = None
        self._alone_s: float | None = None

    def problem(self, now_ns: int, *, engaged: bool = False) -> str | None:
        """The reason why control must not engage by itself, or None; checked twice a second.

        engaged: why a robot that engaged itself must disengage. Then only another robot counts, not another
        subscriber.
        """
        if self._next_ns is None or not self._next_ns - AGAIN_NS <= now_ns < self._next_ns:
            self._next_ns = now_ns + AGAIN_NS
            self._found = foreign_state_publisher(self._node, self._robot, (self._player,))
            if self._found is None and not engaged:
                self._found = foreign_command_subscriber(self._node, self._robot, self._own)
            if self._found is not None or not self._is_there():
                self._alone_s = None
            elif self._alone_s is None:
                self._alone_s = time.monotonic()
        return self._found

    @property
    def settled(self) -> bool:
        """Whether the simulated robot was the only one for so long that others would have been discovered."""
        return self._alone_s is not None and time.monotonic() - self._alone_s >= DISCOVERY_S

    def _is_there(self) -> bool:
        """Whether the simulated robot publishes all of the robot's state."""
        for topic, _ in state_topics(self._robot):
            found = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
            if self._player not in (_full(i.node_namespace, i.node_name) for i in found):
                return False
        return True


def _full(namespace: str, name: str) -> str:
    return f"{namespace.rstrip('/')}/{name}"
