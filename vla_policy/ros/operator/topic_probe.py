"""Subscribes to a running graph for some seconds and returns what it received as plain data (check/topic_samples.py)."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from vla_policy.check.topic_samples import (
    CommandSink,
    DiscoveredEndpoint,
    GraphSnapshot,
    TopicSample,
    TopicStats,
)
from vla_policy.embodiment import Embodiment, Output
from vla_policy.embodiment.spaces import AXES, GOALS
from vla_policy.ros.bringup.endpoints import OUTPUT_TYPES
from vla_policy.ros.bringup.graph import client_arguments
from vla_policy.ros.inputs.robot_topics import transform_listener
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.spinning import spin
from vla_policy.runtime.cdr import stamp_of_serialized

QUIET_S, DISCOVERY_S, CLOCK_S = 0.8, 5.0, 3.0
MAX_SAMPLES = 2000
ENDLESS_NS = 10**18
CONTROL = "control"
CHUNKS = "action_chunk"


def probe(robot: Embodiment, *, seconds: float, namespace: str = "") -> GraphSnapshot:
    """What is received on the topics of robot within seconds, after the graph was discovered.

    namespace: of the robot's nodes; relative topics are resolved in it. Raises ValueError if /clock does not advance.
    """
    ears = TopicProbe(robot, namespace)
    try:
        return ears.hear(seconds)
    finally:
        ears.close()


class TopicProbe:
    """A node of its own context; one thread runs its callbacks. Nothing is published."""

    def __init__(self, robot: Embodiment, namespace: str) -> None:
        self._robot = robot
        self._context = Context()
        rclpy.init(
            args=client_arguments(namespace),
            context=self._context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        name = f"vla_check_{os.getpid()}"
        self._node = Node(name, namespace=namespace or None, context=self._context)
        space = self._node.get_namespace().rstrip("/")
        self._own, self._control = f"{space}/{name}", f"{space}/{CONTROL}"
        self._lock = threading.Lock()
        self._samples: dict[str, list[TopicSample]] = {}
        self._transforms: Any = None
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(
            target=spin, args=(self._executor,), name="ears", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=1.0)
        self._thread.join(timeout=2.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def hear(self, seconds: float) -> GraphSnapshot:
        """See the module's listen()."""
        robot = self._robot
        self._discover()
        self._follow_clock()
        for topic in robot.joints.topics:
            self._subscribe(JointState, topic, qos.STATES, self._on_joints(topic))
        for source in robot.poses.values():
            if source.kind == "topic":
                callback = self._on_pose(source.topic)
                self._subscribe(PoseStamped, source.topic, qos.SENSOR, callback)
        for camera in robot.cameras.values():
            kind = CompressedImage if camera.type == "compressed" else Image
            callback = self._on_image(camera.topic, kind)
            self._subscribe(kind, camera.topic, qos.SENSOR, callback, raw=True)
        problems = self._listen_to_tf()
        time.sleep(seconds)
        problems |= self._look_up()
        return GraphSnapshot(
            seconds=seconds,
            published=self._graph(self._node.get_publishers_info_by_topic),
            read=self._graph(self._node.get_subscriptions_info_by_topic),
            joints={t: self._stream(t, "sensor_msgs/msg/JointState", qos.STATES) for t in robot.joints.topics},
            poses={
                tool: self._stream(s.topic, "geometry_msgs/msg/PoseStamped", qos.SENSOR)
                for tool, s in robot.poses.items() if s.kind == "topic"
            },
            tf=problems,
            cameras={
                name: self._stream(
                    c.topic,
                    f"sensor_msgs/msg/{'CompressedImage' if c.type == 'compressed' else 'Image'}",
                    qos.SENSOR,
                )
                for name, c in robot.cameras.items()
            },
            drains=tuple(self._drain(group, output) for group, output in robot.outputs.items()),
            policies=tuple(sorted(p.node for p in self._publishers(CHUNKS, qos.COMMAND))),
        )  # fmt: skip

    def _discover(self) -> None:
        """Wait until all expected endpoints are discovered and no new ones come, at most DISCOVERY_S."""
        started_s = changed_s = time.monotonic()
        seen: dict[str, tuple[str, ...]] = {}
        while True:
            now_s, graph = time.monotonic(), self._graph(self._node.get_publishers_info_by_topic)
            if graph != seen:
                seen, changed_s = graph, now_s
            quiet = now_s - changed_s > QUIET_S and self._complete()
            if quiet or now_s - started_s > DISCOVERY_S:
                return
            time.sleep(0.1)

    def _complete(self) -> bool:
        """Whether each input has a publisher and each output a subscription."""
        robot = self._robot
        topics = [*robot.joints.topics, *(c.topic for c in robot.cameras.values())]
        topics += [s.topic for s in robot.poses.values() if s.kind == "topic"]
        drains = (self._drain(group, output) for group, output in robot.outputs.items())
        return all(self._publishers(t, None) for t in topics) and all(
            d.readers or d.served for d in drains
        )

    def _follow_clock(self) -> None:
        """Use simulated time if it is published, like the nodes of a simulated robot."""
        if not self._node.count_publishers("/clock"):
            return
        self._node.set_parameters([Parameter("use_sim_time", value=True)])
        end = time.monotonic() + CLOCK_S
        while self._now_ns() == 0:
            if time.monotonic() > end:
                raise ValueError(
                    "/clock has a publisher, but no time came: is the simulation paused?"
                )
            time.sleep(0.05)

    def _subscribe(
        self,
        kind: type,
        topic: str,
        profile: QoSProfile,
        callback: Callable[..., None],
        *,
        raw: bool = False,
    ) -> None:
        self._node.create_subscription(kind, topic, callback, profile, raw=raw)

    def _keep(self, topic: str, sample: TopicSample) -> None:
        with self._lock:
            kept = self._samples.setdefault(topic, [])
            if len(kept) < MAX_SAMPLES:
                kept.append(sample)

    def _on_joints(self, topic: str) -> Callable[[JointState], None]:
        def receive(msg: JointState) -> None:
            problem = ""
            if len(msg.name) != len(msg.position):
                problem = f"{topic}: {len(msg.position)} positions for {len(msg.name)} names"
            values = {} if problem else dict(zip(msg.name, msg.position, strict=True))
            stamp_ns = convert.ns_from_stamp(msg.header.stamp)
            frame = msg.header.frame_id
            self._keep(topic, TopicSample(self._now_ns(), stamp_ns, frame, problem, {**values}))

        return receive

    def _on_pose(self, topic: str) -> Callable[[PoseStamped], None]:
        def receive(msg: PoseStamped) -> None:
            problem = ""
            try:  # the frame is checked separately, so that it is reported on its own line
                convert.pose_from_msg(msg, msg.header.frame_id, topic)
            except ValueError as error:
                problem = str(error)
            position = msg.pose.position
            values = {axis: getattr(position, axis) for axis in AXES}
            stamp_ns = convert.ns_from_stamp(msg.header.stamp)
            self._keep(
                topic, TopicSample(self._now_ns(), stamp_ns, msg.header.frame_id, problem, values)
            )

        return receive

    def _on_image(self, topic: str, kind: type) -> Callable[[bytes], None]:
        looked: list[float] = []

        def receive(data: bytes) -> None:
            now_ns = self._now_ns()
            if looked and time.monotonic() - looked[-1] < 1.0:  # pixels are checked once a second
                try:
                    stamp_ns = stamp_of_serialized(data, topic)
                except ValueError:
                    stamp_ns = 0
                frame = self._samples[topic][-1].frame
                self._keep(topic, TopicSample(now_ns, stamp_ns, frame))
                return
            looked.append(time.monotonic())
            self._keep(topic, _picture(deserialize_message(data, kind), topic, now_ns))

        return receive

    def _listen_to_tf(self) -> dict[str, str]:
        """Poses that come from tf2: the problem where this ROS has none."""
        if not any(s.kind == "tf" for s in self._robot.poses.values()):
            return {}
        try:
            self._transforms = transform_listener(self._node, self._robot.name)
        except ValueError as error:
            return {t: str(error) for t, s in self._robot.poses.items() if s.kind == "tf"}
        return {}

    def _look_up(self) -> dict[str, str]:
        if self._transforms is None:
            return {}
        buffer, when, failures = self._transforms
        problems = {}
        for tool, source in self._robot.poses.items():
            if source.kind != "tf":
                continue
            try:
                buffer.lookup_transform(self._robot.base_frame, source.frame, when)
            except failures as error:
                known = buffer.all_frames_as_string().strip() or "none"
                problems[tool] = f"no transform: {error}; frames: {known}"
        return problems

    def _stream(self, topic: str, kind: str, profile: QoSProfile) -> TopicStats:
        with self._lock:
            samples = tuple(self._samples.get(topic, ()))
        return TopicStats(
            self._node.resolve_topic_name(topic), kind, self._publishers(topic, profile), samples
        )

    def _graph(self, ends: Callable[[str], list[Any]]) -> dict[str, tuple[str, ...]]:
        """Topics -> types of the ends that are not ours."""
        found = {}
        for topic, _ in self._node.get_topic_names_and_types():
            kinds = {i.topic_type for i in ends(topic) if _name(i) != self._own}
            if kinds:
                found[topic] = tuple(sorted(kinds))
        return found

    def _publishers(self, topic: str, ours: QoSProfile | None) -> tuple[DiscoveredEndpoint, ...]:
        found = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(topic))
        return tuple(
            DiscoveredEndpoint(_name(i), i.topic_type, _clash(i.qos_profile, ours)) for i in found
        )

    def _readers(self, topic: str) -> tuple[DiscoveredEndpoint, ...]:
        found = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(topic))
        return tuple(
            DiscoveredEndpoint(_name(i), i.topic_type, _clash(qos.COMMAND, i.qos_profile))
            for i in found
        )

    def _drain(self, group: str, output: Output) -> CommandSink:
        resolve = self._node.resolve_topic_name
        topic = resolve(output.topic)
        kind = "" if output.type in GOALS else OUTPUT_TYPES[output.type]
        service = ""
        if not kind:
            service = f"{topic}/_action/send_goal"
        elif output.servo is not None:
            service = resolve(f"{output.servo}/switch_command_type")
        served = dict(self._node.get_service_names_and_types()) if service else {}
        own = (self._control, self._own)
        return CommandSink(
            group=group,
            topic=topic,
            type=kind,
            publishers=tuple(p for p in self._publishers(topic, None) if p.node not in own)
            if kind
            else (),
            readers=tuple(r for r in self._readers(topic) if r.node not in own) if kind else (),
            service=service,
            served=", ".join(served[service]) if service in served else None,
        )

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def _picture(msg: Image | CompressedImage, topic: str, now_ns: int) -> TopicSample:
    stamp_ns, frame = convert.ns_from_stamp(msg.header.stamp), msg.header.frame_id
    try:
        image = convert.image_from_msg(msg, topic)
    except ValueError as error:
        return TopicSample(now_ns, stamp_ns, frame, str(error))
    return TopicSample(
        now_ns,
        stamp_ns,
        frame,
        size=(image.shape[0], image.shape[1]),
        pixels=hashlib.sha256(image).digest(),
        plain=bool((image == image[0, 0]).all()),
    )


def _name(info: Any) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def _clash(publisher: QoSProfile, reader: QoSProfile | None) -> str:
    """Why messages are not delivered; empty if they are, or if it is not checked."""
    if reader is None:
        return ""
    compatible, reason = qos_check_compatible(_plain(publisher), _plain(reader))
    return (
        "" if compatible != QoSCompatibility.ERROR else reason.removeprefix("ERROR: ").rstrip("; ")
    )


def _plain(profile: QoSProfile) -> QoSProfile:
    """The graph reports 'no deadline' as an endless one, which rclpy takes for a requirement."""

    def asked(duration: Duration) -> Duration:
        return Duration() if duration.nanoseconds >= ENDLESS_NS else duration

    return QoSProfile(
        depth=1,
        reliability=profile.reliability,
        durability=profile.durability,
        deadline=asked(profile.deadline),
        liveliness=profile.liveliness,
        liveliness_lease_duration=asked(profile.liveliness_lease_duration),
    )
