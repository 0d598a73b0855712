"""The controllers of the mock robot: they accept and refuse the same commands as the real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from vla_policy.embodiment import Output
from vla_policy.embodiment.joint_units import from_wire
from vla_policy.embodiment.layout import JOINTS, POSE, ActionPart
from vla_policy.embodiment.spaces import GOALS
from vla_policy.ros.messages import convert
from vla_policy.ros.messages.optional_types import gripper_action, servo_command_type
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.sim.mock import controller_rules as rules
from vla_policy.sim.mock.controller_rules import Point, TrajectoryMessage
from vla_policy.sim.mock.robot import MockRobot, Path


class MockControllers:
    """One controller for each output. accepted, refused: commands so far; late: of the refused.

    Raises ValueError if an output needs messages that this ROS lacks.
    """

    def __init__(self, node: Node, mock: MockRobot, log: ChangeLogger) -> None:
        self.accepted = self.refused = self.late = 0
        self.last_refusal = ""
        self._node, self._mock, self._robot, self._log = node, mock, mock.robot, log
        self._confirmed: dict[str, set[str]] = {}  # servo node -> requested types
        for part in mock.layout.parts:
            self._add(part, self._robot.outputs[part.group])

    def __str__(self) -> str:
        outputs = self._robot.outputs.values()
        return ", ".join(f"{output.topic} ({output.type})" for output in outputs)

    @property
    def servos_running(self) -> int:
        """How many nodes of MoveIt Servo are not paused."""
        return sum("running" in asked for asked in self._confirmed.values())

    def _add(self, part: ActionPart, output: Output) -> None:
        if output.type in GOALS:
            self._serve(part, output)
        elif output.type == "joint_trajectory":
            self._hear(JointTrajectory, output.topic, self._trajectory(part, output))
        elif part.kind == POSE:
            self._hear(PoseStamped, output.topic, self._pose(part, output))
        elif output.type == "float64_multi_array":
            self._hear(Float64MultiArray, output.topic, self._forward(part, output))
        else:
            self._hear(TwistStamped, output.topic, self._twist(part, output))
        if output.servo is not None:
            self._serve_servo(output)

    def _hear(self, kind: type, topic: str, callback: Callable[[Any], str | None]) -> None:
        """callback: accepts a message, or returns the reason why not."""

        def receive(msg: Any) -> None:
            self._count(topic, callback(msg))

        self._node.create_subscription(kind, topic, receive, qos.COMMAND)

    def _count(self, topic: str, refusal: str | None) -> None:
        if refusal is None:
            self.accepted += 1
            self._log.fine(topic, f"{topic}: commands are accepted again")
            return
        self.refused += 1
        self.late += refusal.startswith(rules.LATE)
        self.last_refusal = f"{topic} refused: {refusal}"
        self._log.problem(topic, "refused", self.last_refusal)

    def _trajectory(
        self, part: ActionPart, output: Output
    ) -> Callable[[JointTrajectory], str | None]:
        names, wire, joints = (
            self._joints_of(part, output),
            self._robot.joints.wire,
            list(part.joints),
        )

        def take(msg: JointTrajectory) -> str | None:
            sent, now_ns = trajectory_of(msg), self._now_ns()
            refusal = rules.trajectory_refusal(sent, names, now_ns)
            if refusal is not None:
                return refusal
            start_ns = sent.stamp_ns or now_ns
            order = [sent.names.index(name) for name in names]
            positions = np.array([p.positions for p in sent.points])[:, order]
            if part.kind == JOINTS:
                positions = from_wire(wire, positions, joints)
            else:
                way = output.open - output.closed
                positions = (positions[:, :1] - output.closed) / way
            times_ns = np.array([start_ns + p.time_ns for p in sent.points])
            self._mock.pursue(part, Path(times_ns, positions))
            return None

        return take

    def _forward(
        self, part: ActionPart, output: Output
    ) -> Callable[[Float64MultiArray], str | None]:
        names, wire, joints = (
            self._joints_of(part, output),
            self._robot.joints.wire,
            list(part.joints),
        )

        def take(msg: Float64MultiArray) -> str | None:
            refusal = rules.forward_refusal(msg.data, names)
            if refusal is not None:
                return refusal
            values = np.array(msg.data)
            if part.kind == JOINTS:
                self._mock.pursue(part, from_wire(wire, values, joints))
                return None
            lower, upper = sorted((output.closed, output.open))
            refusal = rules.gripper_refusal(msg.data, lower, upper)
            if refusal is None:
                opening = (values - output.closed) / (output.open - output.closed)
                self._mock.pursue(part, np.clip(opening, 0.0, 1.0))
            return refusal

        return take

    def _pose(self, part: ActionPart, output: Output) -> Callable[[PoseStamped], str | None]:
        def take(msg: PoseStamped) -> str | None:
            p, q = msg.pose.position, msg.pose.orientation
            values = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
            refusal = rules.pose_refusal(values, msg.header.frame_id, self._robot.base_frame)
            if output.servo is not None:
                refusal = self._servo_refusal(output, "pose", values, msg) or refusal
            if refusal is None:
                self._mock.pursue(part, values)
            return refusal

        return take

    def _twist(self, part: ActionPart, output: Output) -> Callable[[TwistStamped], str | None]:
        def take(msg: TwistStamped) -> str | None:
            linear, angular = msg.twist.linear, msg.twist.angular
            by_axis = {f"v{a}": getattr(linear, a) for a in "xyz"}
            by_axis |= {f"w{a}": getattr(angular, a) for a in "xyz"}
            values = np.array([by_axis[name.rpartition(".")[2]] for name in part.names])
            stamp_ns, now_ns = convert.ns_from_stamp(msg.header.stamp), self._now_ns()
            if output.servo is not None:
                refusal = self._servo_refusal(output, "twist", values, msg)
            else:
                refusal = rules.base_refusal(values, stamp_ns, now_ns)
            if refusal is None:
                self._mock.drive(part, values, now_ns)
            return refusal

        return take

    def _servo_refusal(self, output: Output, kind: str, values: Any, msg: Any) -> str | None:
        confirmed = {kind, "running"} <= self._confirmed[output.servo]
        stamp_ns = convert.ns_from_stamp(msg.header.stamp)
        frame = msg.header.frame_id
        return rules.servo_refusal(values, frame, stamp_ns, self._now_ns(), confirmed=confirmed)

    def _serve_servo(self, output: Output) -> None:
        kind = servo_command_type(f"the mock of {output.servo}")
        asked = self._confirmed.setdefault(output.servo, set())
        request = kind.Request()
        names = {request.TWIST: "twist", request.POSE: "pose"}

        def switch(request: Any, response: Any) -> Any:
            response.success = request.command_type in names
            asked.difference_update(names.values())
            asked.update({names[request.command_type]} if response.success else ())
            return response

        def pause(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
            asked.discard("running") if request.data else asked.add("running")
            response.success = True
            return response

        self._node.create_service(kind, f"{output.servo}/switch_command_type", switch)
        self._node.create_service(SetBool, f"{output.servo}/pause_servo", pause)

    def _serve(self, part: ActionPart, output: Output) -> None:
        kind = gripper_action(output.type, f"the mock of {output.topic}")
        lower, upper = sorted((output.closed, output.open))

        def positions(goal: Any) -> list[float]:
            command = goal.command.position
            return list(command) if output.type == "parallel_gripper_command" else [command]

        def judge(goal: Any) -> GoalResponse:
            refusal = rules.gripper_refusal(positions(goal), lower, upper)
            self._count(output.topic, refusal)
            return GoalResponse.ACCEPT if refusal is None else GoalResponse.REJECT

        def execute(handle: Any) -> Any:
            opening = (positions(handle.request)[0] - output.closed) / (
                output.open - output.closed
            )
            self._mock.pursue(part, np.array([min(1.0, max(0.0, opening))]))
            handle.succeed()
            return kind.Result()

        ActionServer(
            self._node,
            kind,
            output.topic,
            execute,
            goal_callback=judge,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def _joints_of(self, part: ActionPart, output: Output) -> list[str]:
        if part.kind == JOINTS:
            names = [self._robot.joint_names[i] for i in part.joints]
        else:
            names = [output.joint, *output.also]
        return [name.removeprefix(output.prefix) for name in names]

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds


def trajectory_of(msg: JointTrajectory) -> TrajectoryMessage:
    """The message as a value for the rules of sim/mock."""
    points = tuple(
        Point(
            convert.ns_from_stamp(point.time_from_start),
            tuple(point.positions),
            tuple(point.velocities),
            tuple(point.accelerations),
            tuple(point.effort),
        )
        for point in msg.points
    )
    return TrajectoryMessage(
        tuple(msg.joint_names), convert.ns_from_stamp(msg.header.stamp), points
    )
