"""Chunks as the paths of the robot's tools, for displays; relative rows start from where the robot was or was sent."""

from __future__ import annotations

from rclpy.node import Node

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.execution.history import remember
from vla_policy.execution.to_absolute import References, resolve
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.ros.inputs.measured_action import MeasuredAction
from vla_policy.ros.messages import convert
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.runtime.tool_paths import ToolPath, kinematics_of, start_from_state, tool_paths
from vla_policy.types import ActionChunk, Array, Reason

MEASURE_HZ = 20.0
POLICY_CHUNKS = "action_chunk"  # a person's chunks have the executed columns


class ChunkPaths:
    """Subscribes to the robot's state where it is needed; its node hands it chunks, and the commands that went out.

    Raises ValueError if the robot's model cannot be read.
    """

    def __init__(self, node: Node, robot: Embodiment, log: ChangeLogger) -> None:
        self._node, self._robot, self._log = node, robot, log
        self._layout = layout_of(robot)
        self._kinematics = kinematics_of(robot)
        self._references = References()
        self._measured: MeasuredAction | None = None
        if not start_from_state(robot):
            return
        self._measured = MeasuredAction(node, robot, log)
        node.create_timer(1.0 / MEASURE_HZ, self._measure)

    def of_chunk(
        self, msg: ActionChunkMsg, topic: str
    ) -> tuple[ActionChunk, tuple[ToolPath, ...]] | None:
        """The chunk and the path of each tool; None for one that no robot could follow, which is told once."""
        try:
            chunk = convert.chunk_from_msg(msg, topic)
        except ValueError as error:
            self._log.problem(topic, "malformed", str(error))
            return None
        rows = chunk.actions
        if topic == POLICY_CHUNKS:
            resolved = resolve(chunk, self._robot, self._references)
            if isinstance(resolved, Reason):
                self._log.problem(topic, resolved.code, f"not drawn: {resolved.detail}")
                return None
            rows = resolved.actions
        elif chunk.names != self._layout.names:
            self._log.problem(topic, "names", f"not drawn: got the columns {chunk.names}")
            return None
        self._log.fine(topic, f"{topic}: drawn again")
        return chunk, self.of_rows(rows)

    def of_rows(self, rows: Array) -> tuple[ToolPath, ...]:
        """The path of each tool. rows: float64[n, d] in executed columns."""
        joints = None if self._measured is None else self._measured.joints
        return tool_paths(rows, self._layout, joints, self._kinematics)

    def on_sent(self, stamp_ns: int, sent: Array) -> None:
        """A command went out. sent: float64[d] in executed columns."""
        commanded = remember(self._references.commanded, stamp_ns, sent)
        self._references = References(self._references.measured, commanded)

    def _measure(self) -> None:
        if self._measured is None:
            return
        now_ns = self._node.get_clock().now().nanoseconds
        if (here := self._measured.action(self._layout, now_ns)) is not None:
            measured = remember(self._references.measured, now_ns, here)
            self._references = References(measured, self._references.commanded)
