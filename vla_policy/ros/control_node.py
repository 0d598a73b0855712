"""The control path as a lifecycle node: chunks in, limited commands at a fixed rate out.

It only wires: what moves and what does not is decided in vla_policy.control, without ROS.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from vla_policy import control as core
from vla_policy.control import Control
from vla_policy.embodiment import load_embodiment
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlStatus
from vla_policy.ros import convert, qos
from vla_policy.ros.commands import Commands
from vla_policy.ros.control_inputs import ControlInputs
from vla_policy.ros.control_report import Measured, diagnostics_msg, status_msg
from vla_policy.ros.lifecycle import run_node
from vla_policy.ros.params import param, read_params
from vla_policy.ros.warn import OnChange
from vla_policy.safety.bounds import Robot, robot_of
from vla_policy.safety.memory import GuardState
from vla_policy.safety.rest import parting
from vla_policy.safety.watchdog import Inputs
from vla_policy.timing import s_from_ns
from vla_policy.types import Level, Reason, Verdict

STATUS_S = 0.2
DIAGNOSTICS_EVERY = 5  # status periods
CLOCK_STOPPED_S = 1.0
NOT_ACTIVE = "the node is not active"


@dataclass(frozen=True, slots=True)
class ControlParams:
    """Parameters of the node; read again on each configure."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file")
    scheme: str = param("receding", "how chunks follow each other", choices=("receding",))
    engaged_at_start: bool = param(False, "engage by itself once all inputs are fresh")
    autostart: bool = param(True, "configure and activate by itself")


class ControlNode(LifecycleNode):
    """Runs in one thread, so that no callback sees another's half-made change."""

    def __init__(self) -> None:
        super().__init__("control")
        self._params = read_params(self, ControlParams)
        self._log = OnChange(self.get_logger())
        self._robot: Robot | None = None
        self._control = Control()
        self._measured = Measured()
        self._inactive = _inactive(NOT_ACTIVE)
        self._verdict = self._worst = self._inactive
        self._active = self._engage_soon = False
        self._endpoints: list[tuple[Any, Any]] = []
        self._status = self.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        # Steady: if the clock of a simulation stops, this must still be said.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._status_timer = self.create_timer(STATUS_S, self._on_status, clock=steady)
        self._status_count = 0
        self._ticked = (0, time.monotonic())

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._params = read_params(self, ControlParams)
            embodiment = load_embodiment(self._params.embodiment)
            self._robot = robot_of(embodiment)
        except (ValueError, OSError) as error:
            self._inactive = _inactive(f"not configured: {error}")
            self.get_logger().error(self._inactive.reasons[0].detail)
            return TransitionCallbackReturn.FAILURE
        self._inactive = _inactive(NOT_ACTIVE)
        # A stop outlives a new configuration: only ~/reset ends it.
        self._control = Control(guard=GuardState(stopped=self._control.guard.stopped))
        self._measured = Measured()
        self._inputs = ControlInputs(self, embodiment, self._log)
        self._commands = Commands(self, embodiment)
        chunks = self.create_subscription(
            ActionChunkMsg, "action_chunk", self._guarded(self._on_chunk), qos.COMMAND
        )
        timer = self.create_timer(
            s_from_ns(embodiment.period_ns), self._guarded(self._on_tick), autostart=False
        )
        self._timer = timer
        self._endpoints = [(self.destroy_subscription, chunks), (self.destroy_timer, timer)]
        services = (
            (SetBool, "~/engage", self._on_engage),
            (Trigger, "~/stop", self._on_stop),
            (Trigger, "~/reset", self._on_reset),
        )
        for kind, name, callback in services:
            self._endpoints.append(
                (self.destroy_service, self.create_service(kind, name, callback))
            )
        self.get_logger().info(
            f"{embodiment.name}: {embodiment.command_hz:g} Hz to "
            + ", ".join(output.topic for output in embodiment.outputs.values())
        )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active, self._engage_soon = True, self._params.engaged_at_start
        self._ticked = (0, time.monotonic())
        self._timer.reset()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _rest(self) -> None:
        """The last thing on the wire is to stay at the last command; nothing if none was sent."""
        if not self._active:
            return
        self._timer.cancel()
        now_ns = self._now_ns()
        last = parting(self._control.guard, self._robot, now_ns)
        self._control = core.disengage(self._control, now_ns)
        if last is not None:
            self._commands.send(last)
            self._commands.wait()
        self._active = self._engage_soon = False
        self._verdict = self._inactive
        self._tell()

    def _release(self) -> None:
        if self._robot is None:
            return
        self._inputs.close()
        self._commands.close()
        for destroy, endpoint in self._endpoints:
            destroy(endpoint)
        self._endpoints, self._robot = [], None

    def _on_tick(self) -> None:
        started_s = time.perf_counter()
        now_ns = self._now_ns()
        self._note_lateness(now_ns)
        if self._engage_soon:
            self._engage_if_fresh(now_ns)
        inputs = self._inputs.inputs()
        self._control, verdict = core.tick(
            self._control, self._robot, self._inputs.state, inputs, now_ns
        )
        if verdict.command is not None:
            self._commands.send(verdict.command)
            self._measured.commands += 1
        if any(reason.code == "clock_jump" for reason in verdict.reasons):
            self._inputs.clear()
        self._take(verdict)
        self._measured.work_s.append(time.perf_counter() - started_s)

    def _take(self, verdict: Verdict) -> None:
        before, self._verdict = self._verdict, verdict
        if verdict.level >= self._worst.level:
            self._worst = verdict
        if _phase(before) == _phase(verdict):
            return
        self._worst = verdict
        reason = verdict.reasons[-1] if verdict.reasons else None
        if verdict.level >= Level.HOLD and reason is not None:
            self._log.problem("guard", reason.code, f"{verdict.level.name}: {reason.detail}")
        else:
            self._log.fine("guard", "commands go out")
        self._tell()

    def _note_lateness(self, now_ns: int) -> None:
        last_ns, _ = self._ticked
        period_ns = self._robot.embodiment.period_ns
        if 0 < last_ns <= now_ns:
            self._measured.lateness_s.append(s_from_ns(max(0, now_ns - last_ns - period_ns)))
        self._ticked = (now_ns, time.monotonic())

    def _engage_if_fresh(self, now_ns: int) -> None:
        self._control, refusal = core.engage(
            self._control, self._robot, self._inputs.inputs(), now_ns
        )
        if refusal is None:
            self._engage_soon = False
            self.get_logger().info("engaged, as engaged_at_start asks for")

    def _on_chunk(self, msg: ActionChunkMsg) -> None:
        now_ns = self._now_ns()
        try:
            chunk = convert.chunk_from_msg(msg, "action_chunk")
        except ValueError as error:
            self._control = core.refuse(
                self._control, Reason("chunk_unreadable", str(error)), now_ns
            )
            self._log.problem("action_chunk", "chunk_unreadable", f"chunk refused: {error}")
            return
        self._measured.chunk_latency_s.append(s_from_ns(now_ns - chunk.obs_ns))
        self._control, reason = core.accept(
            self._control, self._robot, self._inputs.state, chunk, now_ns
        )
        if reason is None:
            self._log.fine("action_chunk", "chunks are taken again")
        else:
            self._log.problem("action_chunk", reason.code, f"chunk refused: {reason.detail}")

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> Any:
        now_ns = self._now_ns()
        if not self._active:
            response.message = self._inactive.reasons[0].detail
            return response
        self._engage_soon = False
        refusal = None
        if request.data:
            self._control, refusal = core.engage(
                self._control, self._robot, self._inputs.inputs(), now_ns
            )
        else:
            self._control = core.disengage(self._control, now_ns)
        response.success = refusal is None
        response.message = f"not engaged: {refusal}" if refusal else ""
        self.get_logger().info(response.message or ("engaged" if request.data else "disengaged"))
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        self._stop(Reason("operator_stop", "an operator stopped the robot"))
        response.success, response.message = True, "stopped until reset"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Any:
        self._control, refusal = core.reset(self._control)
        response.success, response.message = refusal is None, refusal or ""
        self.get_logger().info(refusal or "reset")
        return response

    def _stop(self, reason: Reason) -> None:
        self._engage_soon = False
        self._control = core.stop(self._control, reason, self._now_ns())
        self._take(Verdict(Level.STOP, None, (self._control.guard.stopped or reason,)))

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback; if it raises, the robot is stopped and the node stays to say so."""

        def guarded(*args: Any) -> None:
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - outermost: whatever it is, nothing moves on
                self.get_logger().fatal(traceback.format_exc())
                self._stop(Reason("internal_error", f"{type(error).__name__}: {error}"))

        return guarded

    def _on_status(self) -> None:
        self._status_count += 1
        if self._active and time.monotonic() - self._ticked[1] > CLOCK_STOPPED_S:
            detail = "the clock does not advance; does the simulation run?"
            self._worst = Verdict(Level.HOLD, None, (Reason("clock_stopped", detail),))
            self._log.problem("clock", "clock_stopped", detail)
        else:
            self._log.fine("clock", "the clock advances again")
        self._tell(diagnostics=self._status_count % DIAGNOSTICS_EVERY == 0)

    def _tell(self, *, diagnostics: bool = False) -> None:
        """Publish the worst verdict since the last time, so that a short one is seen too."""
        verdict = self._worst if self._active else self._inactive
        self._worst = self._verdict
        now = self.get_clock().now()
        inputs = self._inputs.inputs() if self._robot is not None else Inputs()
        status = status_msg(
            self._control, verdict, inputs, self._measured, now.nanoseconds, now.to_msg()
        )
        self._status.publish(status)
        if diagnostics:
            self._diagnostics.publish(
                diagnostics_msg(status, inputs, self._measured, now.nanoseconds)
            )

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def _inactive(detail: str) -> Verdict:
    return Verdict(Level.HOLD, None, (Reason("inactive", detail),))


def _phase(verdict: Verdict) -> tuple[Level, str]:
    """What is told at once when it changes; PASS and SLOW alternate too often for that."""
    if verdict.level < Level.HOLD:
        return Level.PASS, ""
    return verdict.level, verdict.reasons[-1].code


def main() -> int:
    """Entry point of the executable `control_node`."""
    return run_node(ControlNode)
