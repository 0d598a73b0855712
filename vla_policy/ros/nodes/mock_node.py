"""A mock of any robot: its topics, its controllers' rules, and no physics.

`ros2 launch vla_policy <robot>.launch.py sim:=mock` runs it in place of the robot. What a real
controller would refuse is refused here, logged once and counted on /diagnostics.
"""

from __future__ import annotations

from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.joint_units import to_wire
from vla_policy.ros.inputs.other_robots import foreign_state_publisher, require_alone
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.diagnostic_names import identified
from vla_policy.ros.process.params import follow_params, param
from vla_policy.ros.process.run_node import NodeEnds, run_node
from vla_policy.ros.simulation.mock_controllers import MockControllers
from vla_policy.runtime.images import encode_jpeg
from vla_policy.sim.mock.robot import MockRobot, picture
from vla_policy.timing import NS_PER_S

REPORT_S = 0.5


@dataclass(frozen=True, slots=True)
class MockParams:
    """Parameters of the node."""

    embodiment: str = param("vx300s", "robot that is played, by name or path of its YAML file")
    state_hz: float = param(50.0, "joint states and tool poses per second", low=5.0, high=500.0)
    camera_hz: float = param(15.0, "images of each camera per second", low=1.0, high=120.0)
    image_px: int = param(96, "width and height of the images", low=16, high=1024)


class MockNode(Node):
    """Publishes what the robot publishes and subscribes to what its controllers subscribe to.

    Raises ValueError if such a robot is present already; ends if one appears.
    """

    def __init__(self) -> None:
        super().__init__("mock")
        self._params = params = follow_params(self, MockParams)
        self._robot = robot = load_embodiment(params.embodiment)
        require_alone(self, robot)
        self._mock = MockRobot(robot)
        self._log = ChangeLogger(self.get_logger())
        self._controllers = MockControllers(self, self._mock, self._log)
        self._joints = {
            topic: self.create_publisher(JointState, topic, qos.SENSOR)
            for topic in robot.joints.topics
        }
        self._poses = {}
        for tool, source in robot.poses.items():
            if source.kind == "tf":
                raise ValueError(f"{robot.name}: a mock has no tf; give ee_pose a topic to try it")
            if source.kind == "topic":
                self._poses[tool] = self.create_publisher(PoseStamped, source.topic, qos.SENSOR)
        self._cameras = {
            camera: self.create_publisher(_kind(camera.type), camera.topic, qos.SENSOR)
            for camera in robot.cameras.values()
        }
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._last_ns = self._now_ns()
        self.create_timer(1.0 / params.state_hz, self._on_state)
        self.create_timer(1.0 / params.camera_hz, self._on_cameras)
        self.create_timer(REPORT_S, self._on_report)
        self.get_logger().info(f"{robot.name}: a mock, no physics; it takes {self._controllers}")

    def _on_state(self) -> None:
        now_ns = self._now_ns()
        elapsed_s = min(max(now_ns - self._last_ns, 0) / NS_PER_S, 0.1)
        self._mock.advance(now_ns, elapsed_s)
        self._last_ns = now_ns
        names, positions = _joint_values(self._mock)
        for topic, prefix in self._robot.joints.topics.items():
            own = [i for i, name in enumerate(names) if name.startswith(prefix)]
            told = [names[i].removeprefix(prefix) for i in own]
            msg = convert.joints_to_msg(told, [positions[i] for i in own], stamp_ns=now_ns)
            self._joints[topic].publish(msg)
        for tool, publisher in self._poses.items():
            pose = self._mock.poses[tool]
            base = self._robot.base_frame
            publisher.publish(convert.pose_to_msg(pose, stamp_ns=now_ns, frame_id=base))

    def _on_cameras(self) -> None:
        now_ns = self._now_ns()
        for camera, publisher in self._cameras.items():
            image = picture(camera.name, self._mock, now_ns, self._params.image_px)
            frame = f"{camera.name}_optical_frame"
            if camera.type == "image":
                publisher.publish(convert.image_to_msg(image, stamp_ns=now_ns, frame_id=frame))
                continue
            header = Header(stamp=convert.stamp_from_ns(now_ns), frame_id=frame)
            data = encode_jpeg(image)
            publisher.publish(CompressedImage(header=header, format="jpeg", data=data))

    def _on_report(self) -> None:
        found = foreign_state_publisher(self, self._robot, (self.get_fully_qualified_name(),))
        if found is not None:
            raise NodeEnds(f"{self._robot.name}: another robot has come: {found}")
        counts = self._controllers
        level = DiagnosticStatus.WARN if counts.refused else DiagnosticStatus.OK
        status = DiagnosticStatus(name="mock: controllers", level=level)
        status.message = counts.last_refusal or "every command was accepted"
        status.values = [
            KeyValue(key="accepted", value=str(counts.accepted)),
            KeyValue(key="refused", value=str(counts.refused)),
            KeyValue(key="late", value=str(counts.late)),
            KeyValue(key="servos running", value=str(counts.servos_running)),
        ]
        header = Header(stamp=convert.stamp_from_ns(self._now_ns()))
        report = DiagnosticArray(header=header, status=[status])
        self._diagnostics.publish(identified(self, report, self._params.embodiment))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def _kind(camera: str) -> type:
    return CompressedImage if camera == "compressed" else Image


def _joint_values(mock: MockRobot) -> tuple[list[str], list[float]]:
    """Names and positions as on the topics, gripper joints included, in an arbitrary order."""
    robot = mock.robot
    values = to_wire(robot.joints.wire, mock.joints)
    found = dict(zip(robot.joint_names, values.tolist(), strict=True))
    for group in robot.actions:
        hand = robot.outputs[group.name]
        if group.space != "gripper" or hand.joint is None:
            continue
        opening = mock.openings[group.names[0]]
        position = hand.closed + opening * (hand.open - hand.closed)
        found |= dict.fromkeys((hand.joint, *hand.also), position)
    names = list(reversed(found))
    return names, [found[name] for name in names]


def main() -> int:
    """Entry point of the executable `mock_node`."""
    return run_node(MockNode, threads=2)
