"""A person at a device drives the robot: messages in, chunks on `teleop_chunk` out, through the same guard as a policy's.

Wiring only: what is sent is decided in vla_policy.teleop, without ROS.
"""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_srvs.srv import Trigger

from vla_policy.embodiment import load_embodiment
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlStatus
from vla_policy.ros.bringup.endpoints import BUTTONS
from vla_policy.ros.inputs.device_topics import DeviceTopics
from vla_policy.ros.inputs.measured_action import MeasuredAction
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes.teleop_params import TeleopParams
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.diagnostic_names import identified
from vla_policy.ros.process.params import follow_params
from vla_policy.ros.process.run_node import run_node
from vla_policy.runtime.control_mode import TELEOPERATED
from vla_policy.safety.watchdog import too_old
from vla_policy.teleop.device_file import load_device
from vla_policy.teleop.follower import follower_of
from vla_policy.teleop.teleoperation import Teleop, tick

STATUS_S = 1.0  # the control node publishes its status five times in it
REPORT_S = 1.0


class TeleopNode(Node):
    """Raises ValueError if the device's file is wrong, or the device cannot drive the robot."""

    def __init__(self) -> None:
        super().__init__("teleop")
        params = follow_params(self, TeleopParams)
        robot = load_embodiment(params.embodiment)
        self._name, self._device = robot.name, load_device(params.device)
        self._follower = follower_of(robot, self._device, params.arm)
        self._log = ChangeLogger(self.get_logger())
        self._teleop = Teleop()
        self._status: tuple[int, str] | None = None
        self._chunks = self.create_publisher(ActionChunkMsg, "teleop_chunk", qos.COMMAND)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._buttons = {n: self.create_client(Trigger, f"control/{n}") for n in BUTTONS}
        self.create_subscription(ControlStatus, "control_status", self._on_status, qos.LATCHED)
        self._robot = MeasuredAction(self, robot, self._log)
        self._topics = DeviceTopics(self, self._device, self._log, self._press)
        self.create_timer(1.0 / params.rate_hz, self._on_tick)
        self.create_timer(REPORT_S, self._report)
        self.get_logger().info(
            f"{self._device.name} on {self._device.topic} drives {self._follower.arm.group} of "
            f"{robot.name} once it is teleoperated (control/take_over)"
        )

    def part(self) -> None:
        """On a signal: the operator's motion ends."""
        self._send(teleoperated=self._teleoperated(self._now_ns()), silent=True)

    def _on_status(self, msg: ControlStatus) -> None:
        self._status = (self._now_ns(), msg.mode)

    def _teleoperated(self, now_ns: int) -> bool:
        if self._status is None or self._status[1] != TELEOPERATED:
            return False
        return too_old("control_status", self._status[0], STATUS_S, now_ns) is None

    def _on_tick(self) -> None:
        self._send(teleoperated=self._teleoperated(self._now_ns()))

    def _send(self, *, teleoperated: bool, silent: bool = False) -> None:
        now_ns = self._now_ns()
        here = None if silent else self._robot.action(self._follower.layout, now_ns)
        self._teleop, chunk = tick(
            self._teleop,
            self._device,
            self._follower,
            self._topics.state,
            here=here,
            teleoperated=teleoperated,
            now_ns=now_ns,
        )
        if chunk is not None:
            frame_id = self._follower.robot.base_frame
            self._chunks.publish(convert.chunk_to_msg(chunk, frame_id=frame_id))
        waits = self._teleop.waits
        if waits is None:
            self._log.fine("teleop", "driving")
        else:
            self._log.problem("teleop", waits.code, f"nothing is sent: {waits.detail}")

    def _press(self, event: str) -> None:
        client = self._buttons[event]
        if not client.service_is_ready():
            self.get_logger().error(f"{event}: no control node answers")
            return
        client.call_async(Trigger.Request()).add_done_callback(
            lambda future: self._answered(event, future)
        )

    def _answered(self, event: str, future: Any) -> None:
        response = future.result()
        if response is not None and response.success:
            self.get_logger().info(f"{event}: {response.message or 'done'}")
        else:
            why = "no answer" if response is None else response.message
            self.get_logger().error(f"{event}: refused: {why}")

    def _report(self) -> None:
        waits = self._teleop.waits
        entry = DiagnosticStatus(name="teleop: device", hardware_id="teleop")
        quiet = waits is None or waits.code in ("released", "not_teleoperated")
        entry.level = DiagnosticStatus.OK if quiet else DiagnosticStatus.WARN
        entry.message = "driving" if waits is None else waits.detail
        values = {"device": self._device.name, "topic": self._device.topic}
        values |= {"chunks": str(self._teleop.sequence)}
        entry.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        report = DiagnosticArray(status=[entry])
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(identified(self, report, self._name))

    def _now_ns(self) -> int:
        now_ns: int = self.get_clock().now().nanoseconds
        return now_ns


def main() -> int:
    """Entry point of the executable `teleop_node`."""
    return run_node(TeleopNode)
