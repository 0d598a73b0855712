"""Per tick: the proposed and the sent command, and the reasons, for recorders."""

from __future__ import annotations

from array import array

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from vla_policy.msg import ControlCommand
from vla_policy.ros.messages.convert import stamp_from_ns
from vla_policy.ros.process import qos
from vla_policy.runtime.control import Control
from vla_policy.runtime.control_mode import source_of
from vla_policy.safety.robot import GuardedRobot
from vla_policy.types import Array, Command, Verdict


class CommandPublisher:
    """Publishes `control_command` once a tick while it has a subscriber; else a tick costs one check."""

    def __init__(self, node: Node, robot: GuardedRobot) -> None:
        self._node, self._robot = node, robot
        self._publisher = node.create_publisher(ControlCommand, "control_command", qos.TICKS)

    def publish(self, control: Control, verdict: Verdict, now_ns: int) -> None:
        """control: after the tick that ended in verdict, at now_ns."""
        if self._publisher.get_subscription_count() > 0:
            self._publisher.publish(command_msg(self._robot, control, verdict, now_ns))

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)


def command_msg(
    robot: GuardedRobot, control: Control, verdict: Verdict, now_ns: int
) -> ControlCommand:
    """The report of one tick."""
    names = robot.layout.names
    chunk = control.timeline.chunk
    proposed, sent = control.proposed, verdict.command
    return ControlCommand(
        header=Header(stamp=stamp_from_ns(now_ns), frame_id=robot.embodiment.base_frame),
        names=list(names),
        proposed=_doubles(proposed),
        sent=_doubles(None if sent is None else full_width(sent, names)),
        level=int(verdict.level),
        reasons=[reason.code for reason in verdict.reasons],
        control_source="" if proposed is None else source_of(control.mode),
        mode=control.mode,
        chunk_sequence=0 if chunk is None else chunk.sequence,
        instruction="" if chunk is None else chunk.instruction,
    )


def full_width(command: Command, names: tuple[str, ...]) -> Array:
    """float64[d] in the order of names; NaN for the columns that the command is not for."""
    if command.names == names:
        return command.values
    values = np.full(len(names), np.nan)
    for name, value in zip(command.names, command.values, strict=True):
        values[names.index(name)] = value
    return values


def _doubles(values: Array | None) -> array[float]:
    """For a message field: an array("d") is not checked value by value, a list is."""
    return array("d", () if values is None else values.tolist())
