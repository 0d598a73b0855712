"""The operator's page as a node: topics to the panel, requests of the page to topics and services."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from vla_policy.embodiment import load_embodiment
from vla_policy.instruction import Stop, stop_of
from vla_policy.msg import ControlStatus, SimEvent
from vla_policy.ros import convert, qos
from vla_policy.ros.identity import diagnostic_name
from vla_policy.ros.lifecycle import run_node
from vla_policy.ros.params import follow_params, param
from vla_policy.ros.warn import OnChange
from vla_policy.types import Level
from vla_policy.web.panel import Actions, Answer, Panel

OVERVIEW = "overview"
SERVICE_S = 3.0
SILENCE_S = 2.0  # of the control node, after which the page says so


@dataclass(frozen=True, slots=True)
class WebParams:
    """Parameters of the node."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file")
    host: str = param("127.0.0.1", "address to listen on; others than loopback are a risk")
    port: int = param(8765, "port of the page", low=1, high=65535)


class WebNode(Node):
    """Without its port, or without aiohttp, it says so and stays without a page; nothing else fails."""

    def __init__(self) -> None:
        super().__init__("web")
        params = follow_params(self, WebParams)
        robot = load_embodiment(params.embodiment)
        self._log = OnChange(self.get_logger())
        topics = {name: camera.topic for name, camera in robot.cameras.items()}
        self._panel = Panel((*topics, OVERVIEW))
        self._say = self.create_publisher(String, "instruction", qos.WORDS)
        self._engage = self.create_client(SetBool, "control/engage")
        self._stop = self.create_client(Trigger, "control/stop")
        self._reset = self.create_client(Trigger, "control/reset")
        self._server = self._serve(params)
        if self._server is None:
            return
        for name, camera in robot.cameras.items():
            kind = CompressedImage if camera.type == "compressed" else Image
            self._watch(kind, name, camera.topic)
        self._watch(Image, OVERVIEW, f"{OVERVIEW}/image_raw")
        self.create_subscription(ControlStatus, "control_status", self._on_status, qos.LATCHED)
        self.create_subscription(SimEvent, "sim_event", self._on_event, qos.LATCHED)
        self.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS
        )
        self._silent_ticks = 0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SILENCE_S / 2, self._on_tick, clock=steady)

    def close(self) -> None:
        """Free the port."""
        if self._server is not None:
            self._server.close()

    def _serve(self, params: WebParams) -> Any:
        try:
            from vla_policy.web.server import Server  # aiohttp is needed for the page alone
        except ModuleNotFoundError as error:
            self.get_logger().error(
                f"no page: {error.name} is not installed (pip install aiohttp)"
            )
            return None
        actions = Actions(
            say=self._on_say,
            engage=lambda engaged: self._call(self._engage, SetBool.Request(data=engaged)),
            stop=lambda: self._call(self._stop, Trigger.Request()),
            reset=lambda: self._call(self._reset, Trigger.Request()),
        )
        server = Server(self._panel, actions, host=params.host, port=params.port)
        try:
            server.start()
        except ValueError as error:
            self.get_logger().error(f"no page: {error}")
            return None
        self.get_logger().info(f"page: {server.url}")
        return server

    def _watch(self, kind: type, name: str, topic: str) -> None:
        self.create_subscription(kind, topic, partial(self._on_image, name, topic), qos.SENSOR)

    def _on_image(self, name: str, topic: str, msg: Image | CompressedImage) -> None:
        try:
            image = convert.image_from_msg(msg, topic)
        except ValueError as error:
            self._log.problem(topic, "refused", f"not shown: {error}")
            return
        self._log.fine(topic, f"{topic}: shown again")
        self._panel.show(name, image)

    def _on_status(self, msg: ControlStatus) -> None:
        self._silent_ticks = 0
        latency_s = float(msg.chunk_latency[0])
        self._panel.tell(
            engaged=msg.engaged,
            level=Level(msg.level).name,
            why=msg.detail,
            queue=msg.queued_rows,
            instruction=msg.instruction,
            commands=msg.commands_sent,
            latency_s=latency_s if latency_s > 0 else None,
        )

    def _on_event(self, msg: SimEvent) -> None:
        self._panel.tell(task=msg.instruction, success=msg.ever_success, detail=msg.detail)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == diagnostic_name(self, "policy: inference"):
                self._panel.tell(policy=f"policy: {status.message}")

    def _on_tick(self) -> None:
        self._silent_ticks += 1
        if self._silent_ticks > 2:
            self._panel.tell(
                engaged=False, level="no word", why="nothing is heard of the control node"
            )

    def _on_say(self, words: str) -> Answer:
        if self._say.get_subscription_count() == 0:
            return Answer(False, "nobody listens to instructions: the task node is not there")
        self._say.publish(String(data=words))
        if stop_of(words) is Stop.LATCH:  # heard already; the service also says so
            return self._call(self._stop, Trigger.Request())
        return Answer(True, f"said: {words}")

    def _call(self, client: Any, request: Any) -> Answer:
        """Call a service from the server's thread; the executor's thread brings the answer."""
        name = client.srv_name
        if not client.service_is_ready():
            return Answer(False, f"nobody serves {name}: the control node is not there")
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(SERVICE_S):
            client.remove_pending_request(future)
            return Answer(False, f"no answer of {name} in {SERVICE_S:g} s")
        response = future.result()
        return Answer(response.success, response.message or "done")


def main() -> int:
    """Entry point of the executable `web_node`."""
    return run_node(WebNode)
