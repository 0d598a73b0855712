"""Commands read back from the controllers' topics, for a recording that has no control_command.

The inverse of ros/outputs: messages become the action's columns, as executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from vla_policy.data.streams import CommandReport, Decoder, Message
from vla_policy.embodiment import Embodiment, Output
from vla_policy.embodiment.joint_units import from_wire
from vla_policy.embodiment.layout import JOINTS, ActionPart, layout_of, opening_of
from vla_policy.embodiment.spaces import GOALS
from vla_policy.types import Array

MOST_POINTS = 3  # of a trajectory with one setpoint and its path to rest
SOURCE = "other"  # the source of the commands is unknown
_AXES = ("vx", "vy", "vz", "wx", "wy", "wz")


def output_decoders(
    robot: Embodiment, outputs: Mapping[str, str], decoder: Decoder
) -> dict[str, Callable[[Message], CommandReport]]:
    """Topic -> function from its messages to commands. outputs: topic -> action group.

    Raises ValueError for a gripper that is commanded by an action, whose goals are on no topic.
    """
    parts = {part.group: part for part in layout_of(robot).parts}
    found = {}
    for topic, group in outputs.items():
        output = robot.outputs[group]
        if output.type in GOALS:
            raise ValueError(
                f"robot {robot.name!r}: action group {group!r} is commanded by goals of the action {output.topic}, "
                "which a recording does not hold; expected a recording with the topic control_command"
            )
        found[topic] = _decode(robot, parts[group], output, decoder)
    return found


def _decode(
    robot: Embodiment, part: ActionPart, output: Output, decoder: Decoder
) -> Callable[[Message], CommandReport]:
    def read(message: Message) -> CommandReport:
        values = _values(robot, part, output, decoder, message)
        if len(values) != len(part.names) or not np.isfinite(values).all():
            raise ValueError(
                f"{message.topic}: got {values.tolist()}, expected {len(part.names)} finite values"
            )
        return CommandReport(message.stamp_ns, part.names, None, values, 0, SOURCE, "")

    return read


def _values(
    robot: Embodiment, part: ActionPart, output: Output, decoder: Decoder, message: Message
) -> Array:
    """float64[n] of the part's columns."""
    if output.type in ("pose", "servo_pose"):
        return decoder.pose(message, robot.base_frame)
    if output.type in ("twist", "servo_twist"):
        twist = dict(zip(_AXES, decoder.twist(message), strict=True))
        return np.array([twist[name.rpartition(".")[2]] for name in part.names])
    if output.type == "joint_trajectory":
        return _of_trajectory(robot, part, output, decoder, message)
    values = decoder.numbers(message)
    if part.kind == JOINTS:
        joints = np.array(part.joints)
        if len(values) != len(joints):
            return values
        return from_wire(robot.joints.wire, values, joints)
    return _gripper(float(values[0]), part, output) if len(values) == 1 else values


def _of_trajectory(
    robot: Embodiment, part: ActionPart, output: Output, decoder: Decoder, message: Message
) -> Array:
    names, positions = decoder.trajectory(message)
    if len(positions) > MOST_POINTS:
        raise ValueError(
            f"{message.topic}: got a trajectory of {len(positions)} points, which is a motion; "
            f"expected setpoints, of at most {MOST_POINTS} points"
        )
    told = {output.prefix + name: value for name, value in zip(names, positions[0], strict=True)}
    if part.kind != JOINTS:
        wanted = [output.joint] if output.joint is not None else []
    else:
        wanted = [robot.joint_names[i] for i in part.joints]
    missing = [name for name in wanted if name not in told]
    if missing or not wanted:
        raise ValueError(
            f"{message.topic}: no joint {', '.join(missing)}; it has {', '.join(told)}"
        )
    values = np.array([told[name] for name in wanted])
    if part.kind == JOINTS:
        return from_wire(robot.joints.wire, values, np.array(part.joints))
    return _gripper(float(values[0]), part, output)


def _gripper(position: float, part: ActionPart, output: Output) -> Array:
    """The gripper's column for a position of its joint."""
    if output.closed is None or output.open is None:
        raise ValueError(f"action group {part.group!r}: no position of an open and a closed hand")
    opening = (position - output.closed) / (output.open - output.closed)
    return np.array([opening_of(min(1.0, max(0.0, opening)), part.opens_up)])
