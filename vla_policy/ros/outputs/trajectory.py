"""JointTrajectoryController: each setpoint with its velocity and its path to rest."""

from __future__ import annotations

import numpy as np
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_policy.embodiment import Embodiment, Output
from vla_policy.embodiment.joint_units import rate_to_wire, to_wire
from vla_policy.embodiment.layout import JOINTS, ActionPart
from vla_policy.execution.stopping_trajectory import LEAD_PERIODS, Braking, braking, joint_way
from vla_policy.ros.messages import convert
from vla_policy.ros.outputs.direct import gripper_position
from vla_policy.ros.outputs.sender import Topic
from vla_policy.types import Array


class JointTarget:
    """Setpoints of joints into trajectories."""

    def __init__(self, robot: Embodiment, part: ActionPart, output: Output) -> None:
        joints = list(part.joints)
        self.names = [robot.joint_names[i].removeprefix(output.prefix) for i in joints]
        self._wire, self._joints = robot.joints.wire, np.array(joints)
        self._part, self._period_ns = part, robot.period_ns

    def message(self, values: Array, rates: Array, stamp_ns: int) -> JointTrajectory:
        """values, rates: float64[j] in the joints' unit, to be reached LEAD_PERIODS after stamp_ns."""
        way = joint_way(self._part, values, rates, self._period_ns)
        positions = to_wire(self._wire, way.positions, self._joints)
        velocities = rate_to_wire(self._wire, way.velocities, self._joints)
        return message_of(self.names, Braking(way.times_ns, positions, velocities), stamp_ns)


class GripperTarget:
    """Setpoints of a gripper into trajectories of its joint and the mimic joints."""

    def __init__(self, robot: Embodiment, part: ActionPart, output: Output) -> None:
        joints = (output.joint, *output.also)
        self.names = [name.removeprefix(output.prefix) for name in joints]
        self._part, self._output = part, output
        self._lead_ns = LEAD_PERIODS * robot.period_ns

    def message(self, values: Array, rates: Array, stamp_ns: int) -> JointTrajectory:
        """values: float64[1], the gripper's column. rates: not used."""
        position = gripper_position(float(values[0]), self._part, self._output)
        target = np.full(len(self.names), position)
        lower, upper = sorted((self._output.closed, self._output.open))
        way = braking(
            target,
            np.zeros_like(target),  # fingers that stop at an object need no path to rest
            acceleration=np.ones_like(target),
            lower=np.full_like(target, min(lower, position)),
            upper=np.full_like(target, max(upper, position)),
            lead_ns=self._lead_ns,
        )
        return message_of(self.names, way, stamp_ns)


class Trajectory:
    """One trajectory for each setpoint."""

    def __init__(
        self, node: LifecycleNode, topic: str, robot: Embodiment, part: ActionPart, output: Output
    ) -> None:
        self._topic = Topic(node, JointTrajectory, topic)
        kind = JointTarget if part.kind == JOINTS else GripperTarget
        self._target = kind(robot, part, output)

    def send(self, values: Array, rates: Array, stamp_ns: int) -> None:
        self._topic.publish(self._target.message(values, rates, stamp_ns))

    def problem(self) -> str | None:
        return None

    def rest(self) -> None:
        self._topic.rest()

    def close(self) -> None:
        self._topic.close()


def message_of(names: list[str], way: Braking, stamp_ns: int) -> JointTrajectory:
    """trajectory_msgs/JointTrajectory from stamp_ns on."""
    points = [
        JointTrajectoryPoint(
            positions=positions.tolist(),
            velocities=velocities.tolist(),
            time_from_start=convert.duration_from_ns(time_ns),
        )
        for time_ns, positions, velocities in zip(
            way.times_ns, way.positions, way.velocities, strict=True
        )
    ]
    header = Header(stamp=convert.stamp_from_ns(stamp_ns))
    return JointTrajectory(header=header, joint_names=names, points=points)
