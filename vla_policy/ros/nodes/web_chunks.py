"""Chunks on the operator's page: text and times, and their paths as overlays on the images."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.node import Node

from vla_policy.embodiment import Embodiment
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlCommand
from vla_policy.ros.inputs.camera_views import known_views
from vla_policy.ros.inputs.chunk_paths import ChunkPaths
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.tool_paths import path_tools, start_from_state
from vla_policy.web.overlay import paths_over, place_over
from vla_policy.web.panel import Panel

TOPICS = ("action_chunk", "teleop_chunk")
PLACE_S = 3.0  # how long a point of the policy is shown


class ShownChunks:
    """Sets `chunk`, `paths` and `place` of the panel; call forget() about once a second."""

    def __init__(self, node: Node, robot: Embodiment, panel: Panel, log: ChangeLogger) -> None:
        self._node, self._robot, self._panel, self._log = node, robot, panel, log
        simulated = bool(node.get_parameter("use_sim_time").value)
        self._views = known_views(robot, simulated=simulated)
        self._until = {"paths": 0.0, "place": 0.0}
        self._paths: ChunkPaths | None = None
        if self._views and path_tools(robot):
            self._paths = ChunkPaths(node, robot, log)
        for topic in TOPICS:
            node.create_subscription(
                ActionChunkMsg, topic, partial(self._on_chunk, topic), qos.COMMAND
            )
        if self._paths is not None and start_from_state(robot):
            node.create_subscription(
                ControlCommand, "control_command", self._on_command, qos.TICKS
            )
        node.create_subscription(PointStamped, "pointed_place", self._on_place, qos.COMMAND)

    def forget(self) -> None:
        """Remove the overlays of a plan that has ended."""
        now = time.monotonic()
        over: dict[str, dict[str, object]] = {
            name: {} for name, until in self._until.items() if until < now
        }
        self._panel.tell(**over)

    def _on_chunk(self, topic: str, msg: ActionChunkMsg) -> None:
        stamp_ns = convert.ns_from_stamp(msg.header.stamp)
        age_ns = self._node.get_clock().now().nanoseconds - stamp_ns
        self._panel.tell(
            chunk={
                "number": msg.sequence,
                "from": "policy" if topic == TOPICS[0] else "person",
                "instruction": msg.instruction,
                "plan": msg.plan,
                "adapter": msg.adapter,
                "rows": msg.rows,
                "latency_s": round(age_ns * 1e-9, 3),
                "inference_s": round(convert.ns_from_stamp(msg.inference_time) * 1e-9, 3),
            }
        )
        if self._paths is None:
            return
        found = self._paths.of_chunk(msg, topic)
        if found is None:
            return
        chunk, paths = found
        self._until["paths"] = time.monotonic() + 1.0 + len(chunk.actions) * chunk.step_ns * 1e-9
        self._panel.tell(paths=paths_over(self._views, paths))

    def _on_place(self, msg: PointStamped) -> None:
        point = np.array([msg.point.x, msg.point.y, msg.point.z])
        if msg.header.frame_id != self._robot.base_frame or not np.isfinite(point).all():
            self._log.problem(
                "pointed_place",
                "refused",
                f"not drawn: got {point.tolist()} in {msg.header.frame_id!r}, "
                f"expected a finite point in {self._robot.base_frame!r}",
            )
            return
        self._log.fine("pointed_place", "pointed_place: drawn again")
        self._until["place"] = time.monotonic() + PLACE_S
        self._panel.tell(place=place_over(self._views, point))

    def _on_command(self, msg: ControlCommand) -> None:
        if self._paths is not None and len(msg.sent):
            stamp_ns = convert.ns_from_stamp(msg.header.stamp)
            self._paths.on_sent(stamp_ns, np.array(msg.sent, dtype=np.float64))
