"""The simulated robot's publishers and subscriptions, by its embodiment file: sensors out, commands in."""

from __future__ import annotations

from collections.abc import Callable

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray

from vla_policy.embodiment import Embodiment, Output
from vla_policy.embodiment.layout import GRIPPER, POSE, VELOCITY, ActionPart, layout_of
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.sim.mock.controller_rules import base_refusal
from vla_policy.sim.realtime import SimLoop, Snapshot
from vla_policy.sim.twin import find_twin
from vla_policy.sim.world.world import OVERVIEW

# Kind of an action group -> the output that the simulation has a controller for.
PLAYED = {POSE: "pose", GRIPPER: "float64_multi_array", VELOCITY: "twist"}


class Sensors:
    """Publishes joints, tool poses and images of a snapshot."""

    def __init__(self, node: Node, robot: Embodiment) -> None:
        self._robot = robot
        self._arms = find_twin(robot.name).arms
        hands = {p.source: robot.outputs[p.group] for p in layout_of(robot).of_kind(GRIPPER)}
        self._hands = [hands[arm.gripper] for arm in self._arms]
        self._joints = {
            topic: node.create_publisher(JointState, topic, qos.SENSOR)
            for topic in robot.joints.topics
        }
        self._poses = {
            tool: node.create_publisher(PoseStamped, source.topic, qos.SENSOR)
            for tool, source in robot.poses.items()
        }
        topics = {name: camera.topic for name, camera in robot.cameras.items()}
        topics[OVERVIEW] = f"{OVERVIEW}/image_raw"
        self._images = {
            name: node.create_publisher(Image, topic, qos.SENSOR) for name, topic in topics.items()
        }

    def publish(self, snapshot: Snapshot) -> None:
        """Publish the whole snapshot."""
        stamp_ns, state = snapshot.time_ns, snapshot.state
        found = self._joint_values(snapshot)
        for topic, prefix in self._robot.joints.topics.items():
            own = {name: value for name, value in found.items() if name.startswith(prefix)}
            names = [name.removeprefix(prefix) for name in own]
            msg = convert.joints_to_msg(names, list(own.values()), stamp_ns=stamp_ns)
            self._joints[topic].publish(msg)
        base = self._robot.base_frame
        for tool, publisher in self._poses.items():
            pose = convert.pose_to_msg(state.poses[tool], stamp_ns=stamp_ns, frame_id=base)
            publisher.publish(pose)
        for name, image in snapshot.images.items():
            frame = f"{name}_optical_frame"
            msg = convert.image_to_msg(image, stamp_ns=stamp_ns, frame_id=frame)
            self._images[name].publish(msg)

    def _joint_values(self, snapshot: Snapshot) -> dict[str, float]:
        """Every arm's joints and finger; the finger shows the measured opening."""
        names, positions = self._robot.joint_names, snapshot.state.joint_positions
        per_arm = len(names) // len(self._arms)
        found: dict[str, float] = {}
        for index, (arm, hand) in enumerate(zip(self._arms, self._hands, strict=True)):
            own = names[index * per_arm : (index + 1) * per_arm]
            measured = positions[index * (per_arm + 1) :][:per_arm]
            found |= dict(zip(own, measured.tolist(), strict=True))
            opening = snapshot.state.grippers[arm.gripper]
            found[hand.joint] = hand.closed + opening * (hand.open - hand.closed)
        return found


class SimControllers:
    """Subscribes to the commands and passes them to the simulation; malformed ones are refused, logged once.

    now_ns: the simulation's clock.
    """

    def __init__(
        self, node: Node, robot: Embodiment, loop: SimLoop, now_ns: Callable[[], int]
    ) -> None:
        self._robot, self._loop, self._now_ns = robot, loop, now_ns
        self._log = ChangeLogger(node.get_logger())
        arms = find_twin(robot.name).arms
        tools = {name: i for i, arm in enumerate(arms) for name in (arm.tool, arm.gripper)}
        for part in layout_of(robot).parts:
            output = robot.outputs[part.group]
            if output.type != PLAYED.get(part.kind):
                raise ValueError(
                    f"{robot.name}: the simulation has no controller for {part.group}, output "
                    f"type {output.type!r}; it has {', '.join(PLAYED.values())}"
                )
            kind, take = {
                POSE: (PoseStamped, self._pose),
                GRIPPER: (Float64MultiArray, self._gripper),
                VELOCITY: (TwistStamped, self._twist),
            }[part.kind]
            hear = self._checked(output.topic, take(part, output, tools.get(part.source, 0)))
            node.create_subscription(kind, output.topic, hear, qos.COMMAND)

    def _checked(self, topic: str, take: Callable[..., None]) -> Callable[..., None]:
        def hear(msg) -> None:
            try:
                take(msg)
            except ValueError as error:
                self._log.problem(topic, "refused", f"command refused: {error}")
                return
            self._log.fine(topic, f"{topic}: commands are accepted again")

        return hear

    def _pose(self, part: ActionPart, output: Output, arm: int) -> Callable[[PoseStamped], None]:
        def take(msg: PoseStamped) -> None:
            pose = convert.pose_from_msg(msg, self._robot.base_frame, output.topic)
            stamp_ns = convert.ns_from_stamp(msg.header.stamp)
            _require_taken(output, self._loop.command_pose(pose, arm, stamp_ns))

        return take

    def _gripper(self, part: ActionPart, output: Output, arm: int) -> Callable[..., None]:
        lower, upper = sorted((output.closed, output.open))

        def take(msg: Float64MultiArray) -> None:
            if len(msg.data) != 1 or not lower - 1e-6 <= msg.data[0] <= upper + 1e-6:
                raise ValueError(
                    f"{output.topic}: got {list(msg.data)[:8]}, "
                    f"expected one position of {output.joint} from {lower} to {upper} m"
                )
            opening = (msg.data[0] - output.closed) / (output.open - output.closed)
            taken = self._loop.command_gripper(min(1.0, max(0.0, opening)), arm)
            _require_taken(output, taken)

        return take

    def _twist(self, part: ActionPart, output: Output, arm: int) -> Callable[[TwistStamped], None]:
        def take(msg: TwistStamped) -> None:
            vx, wz = msg.twist.linear.x, msg.twist.angular.z
            stamp_ns = convert.ns_from_stamp(msg.header.stamp)
            refusal = base_refusal((vx, wz), stamp_ns, self._now_ns())
            if refusal is not None:
                raise ValueError(f"{output.topic}: {refusal}")
            _require_taken(output, self._loop.command_drive(vx, wz, stamp_ns))

        return take


def _require_taken(output: Output, refusal: str | None) -> None:
    if refusal is not None:
        raise ValueError(f"{output.topic}: {refusal}")
