"""Planned paths and published commands as markers in the base frame for RViz and Foxglove.

It only subscribes and publishes markers; it commands nothing and is optional.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from visualization_msgs.msg import MarkerArray

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlCommand
from vla_policy.ros.inputs.chunk_paths import ChunkPaths
from vla_policy.ros.messages import convert
from vla_policy.ros.messages.markers import markers_msg, path_msg
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.params import follow_params, param
from vla_policy.ros.process.run_node import run_node
from vla_policy.runtime.tool_paths import ToolPath, path_tools, topic_of
from vla_policy.types import Array

SENT_S = 2.0  # time span of the commands shown
PUBLISH_HZ = 5.0


@dataclass(frozen=True, slots=True)
class MarkersParams:
    """All are read-only."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file")


class MarkersNode(Node):
    """Raises ValueError for an invalid robot, or one without a tool that has a path."""

    def __init__(self) -> None:
        super().__init__("markers")
        self._robot = load_embodiment(follow_params(self, MarkersParams).embodiment)
        self._layout = layout_of(self._robot)
        self._sent: deque[tuple[int, Array]] = deque()
        tools = path_tools(self._robot)
        if not tools:
            raise ValueError(
                f"robot {self._robot.name!r}: no tool has a path to draw: its arms are commanded by velocities, or by "
                "joints and its description has no model (URDF or MJCF) for forward kinematics"
            )
        self._chunks = ChunkPaths(self, self._robot, ChangeLogger(self.get_logger()))
        self._markers = self.create_publisher(MarkerArray, "chunk_markers", qos.COMMAND)
        self._planned = {t: self._path(f"chunk_path/{topic_of(t)}") for t in tools}
        self._followed = {t: self._path(f"sent_path/{topic_of(t)}") for t in tools}
        for name in ("action_chunk", "teleop_chunk"):
            self.create_subscription(
                ActionChunkMsg, name, lambda msg, n=name: self._on_chunk(msg, n), qos.COMMAND
            )
        self.create_subscription(ControlCommand, "control_command", self._on_command, qos.TICKS)
        self.create_timer(1.0 / PUBLISH_HZ, self._publish_sent)

    def _path(self, topic: str) -> Publisher[Path]:
        return self.create_publisher(Path, topic, qos.COMMAND)

    def _on_chunk(self, msg: ActionChunkMsg, topic: str) -> None:
        found = self._chunks.of_chunk(msg, topic)
        if found is None:
            return
        chunk, paths = found
        frame_id = self._robot.base_frame
        self._markers.publish(markers_msg(paths, stamp_ns=chunk.obs_ns, frame_id=frame_id))
        due_ns = [chunk.obs_ns + k * chunk.step_ns for k in range(len(chunk.actions))]
        self._publish(self._planned, paths, due_ns, chunk.obs_ns)

    def _on_command(self, msg: ControlCommand) -> None:
        if len(msg.sent) != len(self._layout.names):
            return  # nothing was published in this tick
        now_ns = convert.ns_from_stamp(msg.header.stamp)
        if self._sent and now_ns < self._sent[-1][0]:
            self._sent.clear()  # the clock jumped
        sent = np.array(msg.sent, dtype=np.float64)
        self._sent.append((now_ns, sent))
        while self._sent[0][0] < now_ns - SENT_S * 1e9:
            self._sent.popleft()
        self._chunks.on_sent(now_ns, sent)

    def _publish_sent(self) -> None:
        if self._sent:
            times_ns, rows = zip(*self._sent, strict=True)
            paths = self._chunks.of_rows(np.array(rows))
            self._publish(self._followed, paths, times_ns, times_ns[-1])

    def _publish(
        self,
        publishers: dict[str, Publisher[Path]],
        paths: tuple[ToolPath, ...],
        times_ns: list[int] | tuple[int, ...],
        stamp_ns: int,
    ) -> None:
        for path in paths:
            times = times_ns if len(path.poses) == len(times_ns) else [stamp_ns] * len(path.poses)
            msg = path_msg(path, times, stamp_ns=stamp_ns, frame_id=self._robot.base_frame)
            publishers[path.tool].publish(msg)


def main() -> int:
    """Entry point of the executable `markers_node`."""
    return run_node(MarkersNode)
