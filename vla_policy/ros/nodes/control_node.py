"""Control as a lifecycle node: chunks in, limited commands at a fixed rate out.

It only connects topics and services: vla_policy.runtime.control decides on motion, without ROS.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.ros.inputs.chunk_sources import ChunkSources
from vla_policy.ros.inputs.command_conflicts import CommandConflicts, gid_of
from vla_policy.ros.inputs.control_inputs import ControlInputs
from vla_policy.ros.inputs.other_robots import SimulatedRobotGuard
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes.command_report import CommandPublisher
from vla_policy.ros.nodes.control_params import ControlParams
from vla_policy.ros.nodes.control_status import StatusPublisher, StatusValues
from vla_policy.ros.outputs.outputs import Outputs
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.params import follow_params, read_params
from vla_policy.ros.process.run_node import run_node
from vla_policy.ros.process.stop_line import Present
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.runtime.control_mode import (
    AUTONOMOUS,
    PAUSED,
    POLICY,
    TELEOP,
    TELEOPERATED,
    refuse_mode,
    source_of,
)
from vla_policy.runtime.instruction import Stop, stop_of
from vla_policy.safety import hold
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.robot import GuardedRobot, robot_of
from vla_policy.safety.watchdog import InputStamps
from vla_policy.srv import SetMode
from vla_policy.timing import s_from_ns
from vla_policy.types import Command, Level, Reason, Verdict

NOT_ACTIVE = "the node is not active"
CHUNK_TOPICS = {POLICY: "action_chunk", TELEOP: "teleop_chunk"}
BRAKE_S = 0.5  # in which velocities are reduced to zero at shutdown


class ControlNode(LifecycleNode):
    """Runs in one thread, so that no callback sees another's partial change."""

    def __init__(self) -> None:
        super().__init__("control")
        self._robot: GuardedRobot | None = None
        self._params = follow_params(
            self,
            ControlParams,
            configured=lambda: self._robot is not None,
            on_change=self._on_params,
        )
        self._log = ChangeLogger(self.get_logger())
        self._control = Control()
        self._inactive: str | None = NOT_ACTIVE
        self._engage_soon = self._by_itself = False
        self._endpoints: list[tuple[Any, Any]] = []
        self._teller = StatusPublisher(self, self._log, self._view)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._params = read_params(self, ControlParams)
            embodiment = load_embodiment(self._params.embodiment)
            robot = replace(robot_of(embodiment), speed_share=self._params.speed_share)
            outputs = Outputs(self, embodiment, self._log, shadow=self._params.shadow)
            self._inputs = self._inputs_or_close(embodiment, outputs)
        except (ValueError, OSError) as error:
            self._inactive = f"not configured: {error}"
            self.get_logger().error(self._inactive)
            return TransitionCallbackReturn.FAILURE
        self._inactive = NOT_ACTIVE
        # A stop and the control mode survive a new configuration: only people change them.
        self._control = Control(
            guard=GuardState(stopped=self._control.guard.stopped),
            scheme=self._params.scheme,
            mode=self._control.mode,
        )
        self._sources = {POLICY: ChunkSources("policies"), TELEOP: ChunkSources("operators")}
        self._robot, self._commands = robot, outputs
        self._report = CommandPublisher(self, robot)
        self._takeover = self._watch_commands(embodiment)
        self._stand_in = SimulatedRobotGuard(self, embodiment, self._params.stand_in)
        self._create_endpoints(embodiment)
        where = "topics below shadow/, no controller" if self._params.shadow else ", ".join(
            output.topic for output in embodiment.outputs.values()
        )  # fmt: skip
        self.get_logger().info(f"{embodiment.name}: {embodiment.command_hz:g} Hz to {where}")
        return TransitionCallbackReturn.SUCCESS

    def _on_params(self, params: ControlParams) -> None:
        """They apply from the next tick on."""
        self._params = params
        if self._robot is not None:
            self._robot = replace(self._robot, speed_share=params.speed_share)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._inactive, self._engage_soon = None, bool(self._params.stand_in)
        self._control = replace(
            self._control, now_ns=None
        )  # the inactive time was no jump of the clock
        self._teller.start()
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

    def _create_endpoints(self, embodiment: Embodiment) -> None:
        self._timer = self.create_timer(
            s_from_ns(embodiment.period_ns), self._guarded(self._on_tick), autostart=False
        )
        self._endpoints = [(self.destroy_timer, self._timer)]
        # Instructions are received here too, so that a stop word depends on no other node. It arrives before
        # the active instruction that the task node publishes for a later sentence.
        said = self.create_subscription(
            String, "instruction", self._guarded(self._on_said), qos.WORDS
        )
        instruction = self.create_subscription(
            String, "active_instruction", self._guarded(self._on_instruction), qos.ACTIVE
        )
        chunks = (self._listen_for_chunks(source) for source in CHUNK_TOPICS)
        self._endpoints += [(self.destroy_subscription, s) for s in (said, instruction, *chunks)]
        services = (
            (SetBool, "~/engage", self._on_engage),
            (Trigger, "~/stop", self._on_stop),
            (Trigger, "~/reset", self._on_reset),
            (SetMode, "~/set_mode", self._on_set_mode),
            (Trigger, "~/take_over", partial(self._on_button, TELEOPERATED)),
            (Trigger, "~/hand_back", partial(self._on_button, AUTONOMOUS)),
            (Trigger, "~/pause", partial(self._on_button, PAUSED)),
        )
        for kind, name, callback in services:
            service = self.create_service(kind, name, callback)
            self._endpoints.append((self.destroy_service, service))
        present = Present(self, embodiment.name, self._on_line)
        self._endpoints.append((Present.close, present))

    def _listen_for_chunks(self, source: str) -> Any:
        take = self._guarded(partial(self._on_chunk, source))

        def on_chunk(msg: ActionChunkMsg, info: Any) -> None:  # rclpy counts the arguments
            take(msg, info)

        return self.create_subscription(
            ActionChunkMsg, CHUNK_TOPICS[source], on_chunk, qos.COMMAND
        )

    def _inputs_or_close(self, embodiment: Embodiment, outputs: Outputs) -> ControlInputs:
        try:
            return ControlInputs(self, embodiment, self._log)
        except ValueError:
            outputs.close()
            raise

    def _watch_commands(self, embodiment: Embodiment) -> CommandConflicts:
        """In shadow another node commands the robot on purpose, so nothing is watched."""
        outputs = () if self._params.shadow else embodiment.outputs.values()
        topics = {self.resolve_topic_name(output.topic) for output in outputs}
        own = {p.topic_name: p for p in self.publishers if p.topic_name in topics}
        return CommandConflicts(self, own, qos.SENSOR)

    def _rest(self) -> None:
        """Publish the last command, which ends motion that this node still owns; else none."""
        if self._inactive is not None:
            return
        self._timer.cancel()
        owned = self._control.guard.engaged or hold.drives(self._control.guard)
        self._control = core.disengage(self._control, self._now_ns())
        self._brake()
        if owned:
            self._commands.wait()
        self._inactive, self._engage_soon = NOT_ACTIVE, False
        self._teller.rest()

    def _brake(self) -> None:
        """Brake velocities to zero; immediately after BRAKE_S, or if the clock stops."""
        end_s, before_ns = time.monotonic() + BRAKE_S, -1
        period_s = s_from_ns(self._robot.embodiment.period_ns)
        while hold.drives(self._control.guard) and time.monotonic() < end_s:
            now_ns = self._now_ns()
            if now_ns == before_ns:
                break
            before_ns = now_ns
            guard, command = hold.ramp_down(self._control.guard, self._robot, now_ns)
            self._control = replace(self._control, guard=guard)
            if command is not None:
                self._send_last(command, now_ns)
            time.sleep(period_s)  # nothing else may run here: the node is shutting down
        now_ns = self._now_ns()
        last = hold.final_command(self._control.guard, self._robot, now_ns)
        if last is not None:
            self._send_last(last, now_ns)

    def _send_last(self, command: Command, now_ns: int) -> None:
        """Publish a command of the braking, outside the ticks; reported as theirs are."""
        self._commands.send(command)
        reasons = (Reason("inactive", NOT_ACTIVE),)
        self._report.publish(
            replace(self._control, proposed=None), Verdict(Level.HOLD, command, reasons), now_ns
        )

    def _release(self) -> None:
        if self._robot is None:
            return
        self._inputs.close()
        self._takeover.close()
        self._commands.close()
        self._report.close()
        for destroy, endpoint in self._endpoints:
            destroy(endpoint)
        self._endpoints, self._robot = [], None

    def _on_tick(self) -> None:
        started_s = time.perf_counter()
        now_ns = self._now_ns()
        self._teller.tick(now_ns, self._robot.embodiment.period_ns)
        if self._engage_soon:
            self._engage_if_fresh(now_ns)
        topic = self._takeover.heard(now_ns)
        if topic is not None:
            self._control = core.give_up(self._control, self._robot, self._groups_on(topic))
        reason = self._against(topic, now_ns)
        if reason is not None and self._control.guard.engaged:
            # The plan is dropped: not one row of it is executed, as even one could start a
            # velocity.
            self._control, verdict = core.disengage_for(self._control, self._robot, reason, now_ns)
        else:
            self._control, verdict = core.tick(
                self._control, self._robot, self._inputs.state, self._heard(now_ns), now_ns
            )
        if verdict.command is not None:
            self._commands.send(verdict.command)
            self._teller.measured.commands += 1
        codes = {reason.code for reason in verdict.reasons}
        if "clock_jump" in codes:
            self._inputs.clear()
        if self._params.shadow and "moved_away" in codes:
            self._engage_soon = True  # the robot follows another node, as intended
        self._report.publish(self._control, verdict, now_ns)
        self._teller.take(verdict)
        self._teller.measured.work_s.append(time.perf_counter() - started_s)

    def _groups_on(self, topic: str) -> frozenset[str]:
        outputs = self._robot.embodiment.outputs.items()
        return frozenset(g for g, o in outputs if self.resolve_topic_name(o.topic) == topic)

    def _against(self, topic: str | None, now_ns: int) -> Reason | None:
        """The reason to disengage: another node commands on topic, or a real robot has appeared beside a simulated one."""
        if topic is not None:
            return Reason("other_controller", f"somebody else commands the robot on {topic}")
        if not self._by_itself or not self._control.guard.engaged or self._params.shadow:
            return None
        other = self._stand_in.problem(now_ns, engaged=True)
        if other is None:
            return None
        self._engage_soon = True  # once the simulated robot is the only one again
        return Reason("other_robot", f"engaged by itself, but {other}")

    def _heard(self, now_ns: int) -> InputStamps:
        inputs, source, conflict = self._inputs.inputs(), source_of(self._control.mode), None
        if source:
            publishers = self.count_publishers(CHUNK_TOPICS[source])
            conflict = self._sources[source].conflict(now_ns, publishers)
        return replace(inputs, conflict=conflict or inputs.conflict)

    def _engage(self, now_ns: int) -> str | None:
        """Engage if every input is valid; else return what is missing, a sentence."""
        missing = (*self._takeover.against(now_ns), *self._commands.problems())
        if missing and not self._control.guard.engaged:
            return "; ".join(missing)
        self._control, refusal = core.engage(
            self._control, self._robot, self._heard(now_ns), now_ns
        )
        return refusal

    def _engage_if_fresh(self, now_ns: int) -> None:
        # In shadow no command reaches a controller, whichever other nodes run.
        other = None if self._params.shadow else self._stand_in.problem(now_ns)
        if other is not None:
            self._log.problem("stand-in", "robot", f"not engaged by itself: {other}")
        elif (self._params.shadow or self._stand_in.settled) and self._engage(now_ns) is None:
            self._engage_soon, self._by_itself = False, True
            self._log.fine("stand-in", "the stand-in is the only robot again")
            self.get_logger().info("engaged by itself")

    def _on_chunk(self, source: str, msg: ActionChunkMsg, info: Any) -> None:
        now_ns, topic = self._now_ns(), CHUNK_TOPICS[source]
        self._sources[source].note(gid_of(info), now_ns)
        try:
            chunk = convert.chunk_from_msg(msg, topic)
        except ValueError as error:
            self._control = core.refuse(
                self._control, Reason("chunk_unreadable", str(error)), now_ns, source=source
            )
            self._log.problem(topic, "chunk_unreadable", f"chunk refused: {error}")
            return
        if source == source_of(self._control.mode):
            self._teller.measured.chunk_latency_s.append(s_from_ns(now_ns - chunk.obs_ns))
        self._control, reason = core.accept(
            self._control, self._robot, self._inputs.state, chunk, now_ns, source=source
        )
        if reason is None:
            self._log.fine(topic, "chunks are taken again")
            if source == POLICY:
                self._teller.tell()  # at once: the policy continues the executed plan
        elif reason.code != "chunk_mode":  # that one is counted, and is no fault of the sender
            self._log.problem(topic, reason.code, f"chunk refused: {reason.detail}")

    def _on_instruction(self, msg: String) -> None:
        flush = self._params.instruction_change == "flush"
        self._control = core.instruct(self._control, msg.data.strip(), flush=flush)

    def _on_said(self, msg: String) -> None:
        stop = stop_of(msg.data)
        if stop is Stop.LATCH:
            self._stop(Reason("operator_stop", f"somebody said {msg.data.strip()[:60]!r}"))
        elif stop is Stop.END:
            self._control = core.hush(self._control, self._now_ns())
            self.get_logger().info(f"somebody said {msg.data.strip()[:60]!r}: the robot holds")

    def _on_engage(self, request: SetBool.Request, response: SetBool.Response) -> Any:
        now_ns = self._now_ns()
        if self._inactive is not None:
            response.message = self._inactive
            return response
        self._engage_soon = self._by_itself = False
        refusal = None
        if request.data:
            refusal = self._engage(now_ns)
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

    def _on_set_mode(self, request: SetMode.Request, response: SetMode.Response) -> Any:
        response.success, response.message = self._set_mode(request.mode)
        return response

    def _on_button(self, mode: str, request: Trigger.Request, response: Trigger.Response) -> Any:
        response.success, response.message = self._set_mode(mode)
        return response

    def _set_mode(self, mode: str) -> tuple[bool, str]:
        """(accepted, sentence): why it was refused, or what the robot still lacks."""
        refusal = self._inactive or refuse_mode(mode)
        if refusal is not None:
            return False, refusal
        self._control = core.set_mode(self._control, mode, self._now_ns())
        self._teller.tell()
        self.get_logger().info(mode)
        return True, self._waits_for(mode)

    def _waits_for(self, mode: str) -> str:
        """What is missing before motion in this mode, a sentence; empty: nothing, or paused."""
        topic = CHUNK_TOPICS.get(source_of(mode))
        if topic is None:
            return ""
        if not self._control.guard.engaged:
            return f"{mode}; the robot is not engaged"
        if self.count_publishers(topic) == 0:
            return f"{mode}; no publisher on {topic} yet, so the robot holds"
        return ""

    def _on_line(self, word: str) -> tuple[bool, str]:
        """`vla stop` on this machine, without discovery: the same as the services."""
        call = self._on_stop if word == "stop" else self._on_reset
        response = call(Trigger.Request(), Trigger.Response())
        return response.success, response.message

    def _stop(self, reason: Reason) -> None:
        self._engage_soon = False
        self._control = core.stop(self._control, reason, self._now_ns())
        self._teller.take(Verdict(Level.STOP, None, (self._control.guard.stopped or reason,)))

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The callback; if it raises, the robot is stopped and the node stays to report it."""

        def guarded(*args: Any) -> None:
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - outermost: whatever it is, motion ends
                self.get_logger().fatal(traceback.format_exc())
                self._stop(Reason("internal_error", f"{type(error).__name__}: {error}"))

        return guarded

    def _view(self) -> StatusValues:
        configured = self._robot is not None
        return StatusValues(
            control=self._control,
            inputs=self._inputs.inputs() if configured else InputStamps(),
            inactive=self._inactive,
            shadow=self._params.shadow,
            embodiment=self._params.embodiment,
            problems=self._commands.problems() if configured else (),
        )

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main() -> int:
    """Entry point of the executable `control_node`."""
    return run_node(ControlNode)
