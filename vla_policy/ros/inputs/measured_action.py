"""The robot's position as an action, from its joints and tools; None while any part is stale."""

from __future__ import annotations

from dataclasses import replace

from rclpy.node import Node

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import Layout, measured_action
from vla_policy.ros.inputs.robot_topics import RobotTopics
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.safety.watchdog import too_old
from vla_policy.timing import FUTURE_TOLERANCE_NS
from vla_policy.types import Array, RobotState


class MeasuredAction:
    """Subscriptions of a robot's state, without its cameras."""

    def __init__(self, node: Node, robot: Embodiment, log: ChangeLogger) -> None:
        self._node, self._robot, self._log = node, robot, log
        self._state = RobotState()
        self._pose_ns: dict[str, int] = {}
        self._topics: RobotTopics | None = None
        self._topics = RobotTopics(node, robot, self)

    @property
    def joints(self) -> Array | None:
        """float64[j], the newest positions of joint_names; None before the first."""
        return self._state.joint_positions if self._state.joint_ns else None

    def action(self, layout: Layout, now_ns: int) -> Array | None:
        """float64[d] in the order of layout.names; None while it is not known."""
        robot, state = self._robot, self._state
        if too_old(robot.joints.topic, state.joint_ns, robot.joints.max_age_s, now_ns) is not None:
            return None
        for tool, source in robot.poses.items():
            stamp_ns = self._pose_ns.get(tool)
            if too_old(source.topic, stamp_ns, source.max_age_s, now_ns) is not None:
                return None
        return measured_action(layout, state)

    def on_joints(self, stamp_ns: int, values: Array) -> None:
        if self._topics is None:  # received by another thread during construction
            return
        joints = len(self._robot.joint_names)
        read = zip(self._topics.joint_columns[joints:], values[joints:], strict=True)
        grippers = {name: float(opening) for name, opening in read}
        self._state = replace(
            self._state,
            joint_positions=values[:joints],
            joint_ns=stamp_ns,
            grippers=grippers,
        )
        self._log.fine(self._robot.joints.topic, f"{self._robot.joints.topic}: accepted again")

    def on_pose(self, tool: str, stamp_ns: int, pose: Array) -> None:
        self._pose_ns[tool] = stamp_ns
        poses = {**self._state.poses, tool: pose}
        self._state = replace(self._state, poses=poses, ee_ns=min(self._pose_ns.values()))

    def on_refused(self, tool: str | None, topic: str, error: ValueError) -> None:
        self._log.problem(topic, "refused", f"ignored: {error}")

    def check_stamp(self, stamp_ns: int, topic: str) -> None:
        ahead_ns = stamp_ns - self._node.get_clock().now().nanoseconds
        if ahead_ns > FUTURE_TOLERANCE_NS:
            raise ValueError(
                f"{topic}: got a stamp {ahead_ns * 1e-9:.3f} s ahead of the clock, expected the past"
            )
