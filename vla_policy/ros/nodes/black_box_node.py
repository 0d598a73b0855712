"""Writes instructions, commands, states and refusals into a ring of bags: docs/recording.md.

It subscribes; it commands nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from vla_policy.data.bag.qos import Qos
from vla_policy.data.black_box import BlackBox
from vla_policy.data.lerobot.durable import Busy
from vla_policy.data.streams import Message
from vla_policy.embodiment import load_embodiment
from vla_policy.parsing.files import one_line
from vla_policy.ros.bringup.endpoints import LATCHED, black_box_streams
from vla_policy.ros.inputs.recorded_topics import RecordedTopics
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.params import follow_params, param
from vla_policy.ros.process.run_node import run_node

FLUSH_S = 0.5
AGAIN_S = 1.0  # after the disk refused


@dataclass(frozen=True, slots=True)
class BlackBoxParams:
    """All are read-only."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file")
    folder: str = param("", "where the bags lie, oldest first")
    keep_mb: int = param(256, "MB that all bags together take at most", low=8, high=1_000_000)
    shadow: bool = param(False, "commands are below shadow/")


class BlackBoxNode(Node):
    """Raises ValueError for a robot that cannot be read, and for a folder that is missing, taken or refused."""

    def __init__(self) -> None:
        super().__init__("black_box")
        params = follow_params(self, BlackBoxParams)
        robot = load_embodiment(params.embodiment)
        if not params.folder:
            raise ValueError("folder: got none, expected where the bags of the black box lie")
        streams = black_box_streams(
            robot,
            shadow=params.shadow,
            simulated=bool(self.get_parameter("use_sim_time").value),
        )
        try:
            self._box = BlackBox(
                Path(params.folder).expanduser(),
                keep_bytes=params.keep_mb * 1_000_000,
                latched=[self.resolve_topic_name(name) for name in LATCHED],
                robot=robot.name,
            )
        except (OSError, Busy) as error:
            raise ValueError(f"folder: {one_line(error)}") from error
        for said in self._box.recovered:
            self.get_logger().info(said)
        self._log = ChangeLogger(self.get_logger())
        # Steady: the clock of a simulation may stand still while the disk is awaited.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._wait_ns = 0
        self._topics = RecordedTopics(self, streams, self._on_message, self._on_lost)
        self.create_timer(FLUSH_S, self._flush, clock=self._steady)
        self.get_logger().info(f"{robot.name}: the last {params.keep_mb} MB in {self._box.folder}")

    def _on_message(self, message: Message, qos: Sequence[Qos]) -> None:
        if self._steady.now().nanoseconds < self._wait_ns:
            return  # the disk has just failed; it is in the log
        try:
            self._box.write(message, qos)
        except (OSError, ValueError) as error:
            self._refused(error)
        else:
            self._log.fine("disk", "writing again")

    def _flush(self) -> None:
        try:
            self._box.flush()
        except OSError as error:
            self._refused(error)

    def _refused(self, error: Exception) -> None:
        self._wait_ns = self._steady.now().nanoseconds + int(AGAIN_S * 1e9)
        self._log.problem("disk", type(error).__name__, f"nothing is written: {one_line(error)}")

    def _on_lost(self, topic: str, count: int) -> None:
        self._log.problem(topic, "lost", f"{topic}: {count} messages were lost on their way")

    def close(self) -> None:
        """End the newest bag."""
        self._topics.close()
        self._box.close()


def main() -> int:
    """Entry point of the executable `black_box_node`."""
    return run_node(BlackBoxNode)
