"""MoveIt Servo: its command type switched and confirmed before the first command, paused at the end.

Servo drops commands of any other type than the one it was switched to, with a log line only, so
nothing is sent before it has confirmed. It stops when nothing came for `incoming_command_timeout`
(0.1 s); the control node's rate, which is higher, keeps it running, and a hold lets it stop.
"""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool

from vla_policy.ros.messages.optional_types import servo_command_type
from vla_policy.ros.outputs.direct import Direct, Encode
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.types import Array

RETRY_S = 1.0


class Servo:
    """Setpoints for the node `servo`, as twists or poses."""

    def __init__(
        self,
        node: LifecycleNode,
        topic: str,
        servo: str,
        *,
        kind: type,
        encode: Encode,
        poses: bool,
        log: ChangeLogger,
    ) -> None:
        service = servo_command_type(f"MoveIt Servo, node {servo!r},")
        self._node, self._servo, self._log = node, servo, log
        self._direct = Direct(node, topic, kind, encode)
        request = service.Request()
        self._request = service.Request(command_type=request.POSE if poses else request.TWIST)
        self._switch = node.create_client(service, f"{servo}/switch_command_type")
        self._pause = node.create_client(SetBool, f"{servo}/pause_servo")
        self._switched = self._running = False
        self._resting = True  # paused until the first command
        self._timer = node.create_timer(RETRY_S, self._ask)
        self._ask()

    def send(self, values: Array, rates: Array, stamp_ns: int) -> None:
        if self._resting:
            self._resting = False
            self._ask()
        if self._running:
            self._direct.send(values, rates, stamp_ns)

    def problem(self) -> str | None:
        if not self._switched:
            return f"{self._servo} has not confirmed its command type"
        if not self._running and not self._resting:
            return f"{self._servo} has not confirmed that it runs"
        return None

    def rest(self) -> None:
        """Servo halts until the next command."""
        self._direct.rest()
        if self._pause.service_is_ready():
            self._pause.call_async(SetBool.Request(data=True))
        self._running, self._resting = False, True

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        for client in (self._switch, self._pause):
            self._node.destroy_client(client)
        self._direct.close()

    def _ask(self) -> None:
        if self.problem() is None:
            self._log.fine(self._servo, f"{self._servo} takes commands")
        elif not (self._switch.service_is_ready() and self._pause.service_is_ready()):
            self._log.problem(self._servo, "missing", f"no services of {self._servo} yet")
        elif not self._switched:
            self._switch.call_async(self._request).add_done_callback(self._on_switched)
        else:
            running = self._pause.call_async(SetBool.Request(data=False))
            running.add_done_callback(self._on_running)

    def _on_switched(self, future: Any) -> None:
        self._switched = future.exception() is None and bool(future.result().success)
        if self._switched:
            self._ask()

    def _on_running(self, future: Any) -> None:
        confirmed = future.exception() is None and bool(future.result().success)
        self._running = confirmed and not self._resting
