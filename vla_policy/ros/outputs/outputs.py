"""Every output of a robot: the sender for each action group, by the type in its description."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import ActionPart, executed_groups, layout_of
from vla_policy.embodiment.spaces import GOALS
from vla_policy.ros.bringup.endpoints import shadow_topic
from vla_policy.ros.outputs.direct import Direct, encoder
from vla_policy.ros.outputs.goals import Goals
from vla_policy.ros.outputs.sender import Sender
from vla_policy.ros.outputs.servo import Servo
from vla_policy.ros.outputs.trajectory import Trajectory
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.types import Command

SERVO = ("servo_pose", "servo_twist")


class Outputs:
    """Sends commands to the robot's controllers, or, in shadow, to topics below `shadow/` alone.

    Raises ValueError if an output needs messages that this ROS lacks.
    """

    def __init__(
        self, node: LifecycleNode, robot: Embodiment, log: ChangeLogger, *, shadow: bool = False
    ) -> None:
        layout = layout_of(robot)
        self._senders: list[tuple[ActionPart, Sender]] = []
        try:
            for part in layout.parts:
                self._senders.append((part, _sender(node, robot, part, log, shadow)))
        except ValueError:
            self.close()
            raise

    def send(self, command: Command) -> None:
        """To the controllers that the command is for; nothing while the node is not active."""
        for part, sender in self._senders:
            if part.names[0] in command.names:
                start = command.names.index(part.names[0])
                own = slice(start, start + len(part.names))
                sender.send(command.values[own], command.rates[own], command.stamp_ns)

    def problems(self) -> tuple[str, ...]:
        """Why controllers cannot be commanded now; empty if all can."""
        found = ((part, sender.problem()) for part, sender in self._senders)
        return tuple(f"action group {p.group!r}: {why}" for p, why in found if why is not None)

    def wait(self) -> None:
        """After the last command: wait for its delivery, and end motion that would continue."""
        for _, sender in self._senders:
            sender.rest()

    def close(self) -> None:
        for _, sender in self._senders:
            sender.close()
        self._senders = []


def _sender(
    node: LifecycleNode, robot: Embodiment, part: ActionPart, log: ChangeLogger, shadow: bool
) -> Sender:
    output = robot.outputs[part.group]
    topic = shadow_topic(output.topic) if shadow else output.topic
    if output.type == "joint_trajectory":
        return Trajectory(node, topic, robot, part, output)
    if output.type in GOALS and not shadow:
        return Goals(node, topic, part, output, log)
    group = next(g for g in executed_groups(robot) if g.name == part.group)
    kind, encode = encoder(robot, group, part, output)
    if output.type in SERVO and not shadow:
        poses = output.type == "servo_pose"
        return Servo(node, topic, output.servo, kind=kind, encode=encode, poses=poses, log=log)
    return Direct(node, topic, kind, encode)
