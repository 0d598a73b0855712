"""The operator's page as a node: topics to the panel, requests to services and the action."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from vla_policy.embodiment import load_embodiment
from vla_policy.msg import ControlStatus, InstructionOutcome, SimEvent
from vla_policy.ros.bringup.page_settings import page_token
from vla_policy.ros.inputs.camera_views import OVERVIEW
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes.policy_diagnostics import UNDERSTANDING
from vla_policy.ros.nodes.web_chunks import ShownChunks
from vla_policy.ros.nodes.web_controls import Controls
from vla_policy.ros.nodes.web_library import Library
from vla_policy.ros.nodes.web_recorder import PageRecorder
from vla_policy.ros.nodes.web_requests import Requests
from vla_policy.ros.nodes.web_robots import Robots
from vla_policy.ros.nodes.web_teleop import PageTeleop
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.diagnostic_names import diagnostic_name
from vla_policy.ros.process.params import param, read_params
from vla_policy.ros.process.run_node import run_node
from vla_policy.types import Array, Level
from vla_policy.web.documents import Documents
from vla_policy.web.panel import Actions, Panel
from vla_policy.web.tls import server_tls

SILENCE_S = 2.0  # without the control node's status, after which the page shows that


@dataclass(frozen=True, slots=True)
class WebParams:
    """Parameters of the node."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file")
    host: str = param(
        "127.0.0.1", "address to listen on; beyond loopback the page asks for a token"
    )
    port: int = param(8765, "port of the page", low=1, high=65535)
    names: str = param(
        "", "further host names under which browsers may reach the page, with commas"
    )
    library: str = param("", "folder whose data sets the page lists; empty: the recorder's")
    token_file: str = param(
        "",
        "file with the token that the page asks for, its owner's alone; empty: beyond loopback that of "
        "VLA_TOKEN_FILE or VLA_TOKEN, on loopback none",
    )
    tls_cert: str = param("", "certificate, PEM, for https; with tls_key")
    tls_key: str = param("", "its key")


class WebNode(Node):
    """Without a free port or aiohttp it logs that and serves no page; nothing else fails."""

    def __init__(self) -> None:
        super().__init__("web")
        params = read_params(self, WebParams)
        robot = load_embodiment(params.embodiment)
        self._log = ChangeLogger(self.get_logger())
        cameras = tuple(robot.cameras)
        self._panel = Panel((OVERVIEW, *cameras), extra=(OVERVIEW,))
        self._requests = Requests(self, self._panel)
        self._controls = Controls(self, self._panel)
        self._recorder = PageRecorder(self, self._panel)
        self._teleop = PageTeleop(self)
        self._robots = Robots(self, self._panel, robot.name)
        self._documents = Documents()
        self._library = Library(
            self._panel, self._documents, params.library, lambda: self._recorder.folder
        )
        self._server = self._serve(params)
        if self._server is None:
            return
        for name, camera in robot.cameras.items():
            kind = CompressedImage if camera.type == "compressed" else Image
            self._watch(kind, name, camera.topic)
        self._watch(Image, OVERVIEW, f"{OVERVIEW}/image_raw")
        self._chunks = ShownChunks(self, robot, self._panel, self._log)
        self.create_subscription(ControlStatus, "control_status", self._on_status, qos.LATCHED)
        self.create_subscription(SimEvent, "sim_event", self._on_event, qos.LATCHED)
        self.create_subscription(
            InstructionOutcome, "instruction_outcome", self._on_outcome, qos.OUTCOMES
        )
        self.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )
        self._silent_ticks = self._teleop_ticks = 0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SILENCE_S / 2, self._on_tick, clock=steady)

    def close(self) -> None:
        """Close the port, and delete the views."""
        self._library.close()
        self._robots.close()
        if self._server is not None:
            self._server.close()

    def _serve(self, params: WebParams) -> Any:
        try:
            from vla_policy.web.server import PanelServer  # aiohttp is needed only for the page
        except ModuleNotFoundError as error:
            self.get_logger().error(
                f"no page: {error.name} is not installed (pip install aiohttp)"
            )
            return None
        try:
            tls = server_tls(params.tls_cert, params.tls_key)
            server = PanelServer(
                self._panel,
                self._actions(),
                host=params.host,
                port=params.port,
                names=params.names.split(","),
                documents=self._documents,
                token=page_token(params.host, params.token_file),
                tls=tls,
            )
            server.start()
        except (OSError, ValueError) as error:
            self.get_logger().error(f"no page: {error}")
            return None
        asks = "; it asks for the robot's token" if server.asks else ""
        self.get_logger().info(f"page: {server.url}{asks}")
        if not server.local and tls is None:
            self.get_logger().warning(
                "no TLS: pictures and token of the page can be read on the way; see tls_cert, or "
                "use `ssh -L` to a page on loopback"
            )
        return server

    def _actions(self) -> Actions:
        """All requests that the page may send."""
        rooms = (self._controls, self._recorder, self._teleop, self._library, self._robots)
        more = {verb: deed for room in rooms for verb, deed in room.deeds().items()}
        return replace(self._requests.actions(), more=more, drive=self._teleop.drive)

    def _watch(self, kind: type, name: str, topic: str) -> None:
        self.create_subscription(kind, topic, partial(self._on_image, name, topic), qos.SENSOR)

    def _on_image(self, name: str, topic: str, msg: Image | CompressedImage) -> None:
        self._panel.show(name, partial(self._image, topic, msg))

    def _image(self, topic: str, msg: Image | CompressedImage) -> Array | None:
        """Runs in the encoding thread, while a page shows the camera."""
        try:
            image = convert.image_from_msg(msg, topic)
        except ValueError as error:
            self._log.problem(topic, "refused", f"not shown: {error}")
            return None
        self._log.fine(topic, f"{topic}: shown again")
        return image

    def _on_status(self, msg: ControlStatus) -> None:
        self._silent_ticks = 0
        latency_s = float(msg.chunk_latency[0])
        ages = {"joints": msg.joint_state_age, "tool": msg.ee_pose_age, "chunk": msg.chunk_age}
        acted = zip(msg.intervention_names, msg.intervention_counts, strict=False)
        self._panel.tell(
            engaged=msg.engaged,
            mode=msg.mode,
            shadow=msg.shadow,
            level=Level(msg.level).name if msg.level <= Level.STOP else f"level {msg.level}",
            why=msg.detail,
            queue=msg.queued_rows,
            instruction=msg.instruction,
            commands=msg.commands_sent,
            latency_s=latency_s if latency_s > 0 else None,
            ages={name: round(age, 3) for name, age in ages.items() if age >= 0.0},
            acted={name: int(count) for name, count in acted},
            reason=msg.reason,
        )

    def _on_event(self, msg: SimEvent) -> None:
        self._panel.tell(task=msg.instruction, success=msg.ever_success, detail=msg.detail)
        self._requests.judge(msg.instruction, msg.success, convert.ns_from_stamp(msg.header.stamp))

    def _on_outcome(self, msg: InstructionOutcome) -> None:
        self._requests.explain(msg)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self._robots.hear(status)
            if status.name == diagnostic_name(self, "policy: inference"):
                fine = status.level == DiagnosticStatus.OK
                values = {entry.key: entry.value for entry in status.values}
                self._panel.tell(
                    policy=status.message,
                    policy_fine=fine,
                    understanding=values.get(UNDERSTANDING, ""),
                )
            elif status.name == diagnostic_name(self, "teleop: device"):
                self._panel.tell(teleop=status.message)
                self._teleop_ticks = 0

    def _on_tick(self) -> None:
        self._controls.look()
        self._recorder.look()
        self._robots.look(self._server.url)
        self._chunks.forget()
        self._teleop_ticks += 1
        if self._teleop_ticks > 3:
            self._panel.tell(teleop=None)
        self._silent_ticks += 1
        if self._silent_ticks > 2:
            self._panel.tell(
                engaged=None, level=None, why="nothing is heard of the control node any more"
            )


def main() -> int:
    """Entry point of the executable `web_node`."""
    return run_node(WebNode)
