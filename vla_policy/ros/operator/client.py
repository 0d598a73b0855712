"""An operator's client of the graph: instructions, engage, stop, scenes. Used by `vla say` and the demo."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from vla_policy.action import ExecuteInstruction
from vla_policy.msg import ControlStatus, InstructionOutcome, SimEvent
from vla_policy.ros.bringup.endpoints import BUTTONS
from vla_policy.ros.bringup.graph import client_arguments
from vla_policy.ros.process import qos
from vla_policy.ros.process.notes import namespace_of
from vla_policy.ros.process.spinning import spin
from vla_policy.srv import SetScene

OUTCOMES = {
    getattr(ExecuteInstruction.Result, name): name.lower()
    for name in ("DONE", "TIMEOUT", "CANCELED", "REFUSED", "PREEMPTED", "STALE", "STOPPED")
}
REASON_S = 2.0  # from the rejection of a goal to its reason
OnFeedback = Callable[[ExecuteInstruction.Feedback], None]


@dataclass(frozen=True, slots=True)
class InstructionResult:
    """How an instruction ended: one of the values of OUTCOMES, and a sentence."""

    code: str
    message: str
    elapsed_s: float = 0.0
    chunks: int = 0


class Client:
    """Calls a running graph from one thread; a second, internal thread runs the callbacks.

    Every call has a time limit and raises TimeoutError with a sentence when it passes. status and
    event are the last messages of control_status and sim_event, None before the first; outcomes
    are the messages received on instruction_outcome.
    """

    def __init__(self, name: str = "operator", *, namespace: str = "") -> None:
        self._context = Context()
        rclpy.init(
            args=client_arguments(namespace_of(namespace)),
            context=self._context,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = Node(
            f"{name}_{os.getpid()}",
            namespace=namespace_of(namespace) or None,
            context=self._context,
        )
        self.status: ControlStatus | None = None
        self.event: SimEvent | None = None
        self.outcomes: list[InstructionOutcome] = []
        node = self.node
        node.create_subscription(ControlStatus, "control_status", self._on_status, qos.LATCHED)
        node.create_subscription(SimEvent, "sim_event", self._on_event, qos.LATCHED)
        self._say = node.create_publisher(String, "instruction", qos.WORDS)
        node.create_subscription(
            InstructionOutcome, "instruction_outcome", self._on_outcome, qos.OUTCOMES
        )
        self._engage = node.create_client(SetBool, "control/engage")
        self._stop = node.create_client(Trigger, "control/stop")
        self._reset = node.create_client(Trigger, "control/reset")
        self._buttons = {n: node.create_client(Trigger, f"control/{n}") for n in BUTTONS}
        self._scene = node.create_client(SetScene, "set_scene")
        self._action = ActionClient(node, ExecuteInstruction, "execute_instruction")
        self._sent: Any = None  # future of the last goal
        self._result: Any = None  # future of its result
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(
            target=spin, args=(self._executor,), name="client", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(timeout_sec=1.0)
        self._thread.join(timeout=2.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for_control(self, timeout_s: float) -> bool:
        """Whether a control node answers."""
        return bool(self._engage.wait_for_service(timeout_sec=timeout_s))

    def wait_for_task(self, timeout_s: float) -> bool:
        """Whether a task node takes instructions."""
        return bool(self._action.wait_for_server(timeout_sec=timeout_s))

    def wait_for_simulation(self, timeout_s: float) -> bool:
        """Whether a simulated robot answers."""
        return bool(self._scene.wait_for_service(timeout_sec=timeout_s))

    def engage(self, engaged: bool = True) -> str:
        """Let commands through, or no longer. Raises ValueError with the reason of a refusal."""
        return self._accepted(self._engage, SetBool.Request(data=engaged), "control/engage")

    def stop(self, timeout_s: float = 5.0) -> str:
        """Stop at once; stays stopped until reset()."""
        return self._accepted(self._stop, Trigger.Request(), "control/stop", timeout_s)

    def reset(self) -> str:
        """Lift a stop."""
        return self._accepted(self._reset, Trigger.Request(), "control/reset")

    def press(self, button: str) -> str:
        """take_over, hand_back or pause; what the robot still waits for. Raises ValueError with the reason of a refusal."""
        return self._accepted(self._buttons[button], Trigger.Request(), f"control/{button}")

    def ask(self, client: Any, request: Any, name: str, timeout_s: float = 5.0) -> Any:
        """The response of any service."""
        return self.call(client, request, name, timeout_s)

    def say(self, text: str, timeout_s: float = 5.0) -> None:
        """Publish text on the topic instruction. Raises TimeoutError if it has no subscription in time."""
        end = time.monotonic() + timeout_s
        while self._say.get_subscription_count() == 0:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listens to instructions within {timeout_s:g} s")
            time.sleep(0.02)
        self._say.publish(String(data=text))

    def set_scene(self, seed: int, instruction: str, timeout_s: float = 30.0) -> SetScene.Response:
        """Put the simulation into a seeded scene. Raises ValueError if it does not fit."""
        request = SetScene.Request(seed=seed, instruction=instruction)
        response = self.call(self._scene, request, "set_scene", timeout_s)
        if not response.success:
            raise ValueError(response.message)
        return response

    def start(
        self, instruction: str, timeout_s: float, on_feedback: OnFeedback | None = None
    ) -> Any:
        """Send an instruction; what outcome() takes, or the InstructionResult itself if it was refused."""
        goal = ExecuteInstruction.Goal(instruction=instruction)
        goal.timeout.sec = int(timeout_s)
        goal.timeout.nanosec = int(timeout_s % 1 * 1e9)
        callback = None if on_feedback is None else lambda message: on_feedback(message.feedback)
        told = len(self.outcomes)
        self._sent = self._result = None

        def send() -> Any:  # kept at once: an interrupt of this thread must not lose what was sent
            self._sent = self._action.send_goal_async(goal, feedback_callback=callback)
            return self._sent

        handle = _wait(self._in_executor(send), 10.0, "execute_instruction")
        if not handle.accepted:
            return InstructionResult("refused", self._why_refused(instruction, told))
        self._result = self._in_executor(handle.get_result_async)
        return self._result

    def outcome(self, result: Any, timeout_s: float) -> InstructionResult | None:
        """The InstructionResult of what start() returned, or None if it is not there in time."""
        if isinstance(result, InstructionResult):
            return result
        try:
            answer = _wait(result, timeout_s, "execute_instruction")
        except TimeoutError:
            return None
        if answer.status == GoalStatus.STATUS_UNKNOWN:
            return InstructionResult("stale", "the task node is gone")
        got = answer.result
        elapsed_s = got.elapsed.sec + got.elapsed.nanosec * 1e-9
        return InstructionResult(
            OUTCOMES.get(got.outcome, "unknown"), got.message, elapsed_s, got.chunks
        )

    def cancel(self, timeout_s: float = 3.0) -> InstructionResult:
        """Cancel the last instruction; its outcome, once that is confirmed.

        Raises TimeoutError without a confirmation in time.
        """
        self._in_executor(
            lambda: None
        )  # after what start() has handed over before it was interrupted
        if self._sent is None:
            return InstructionResult("canceled", "nothing had been sent")
        handle = _wait(self._sent, timeout_s, "execute_instruction")
        if not handle.accepted:
            return InstructionResult("refused", "it was not accepted")
        if self._result is None:
            self._result = self._in_executor(handle.get_result_async)
        if not self._result.done():
            _wait(self._in_executor(handle.cancel_goal_async), timeout_s, "the cancellation")
        outcome = self.outcome(self._result, timeout_s)
        if outcome is None:
            raise TimeoutError(f"no confirmation of the cancellation in {timeout_s:g} s")
        return outcome

    def _in_executor(self, ask: Callable[[], Any]) -> Any:
        """The future that ask() returns, created in the callbacks' thread.

        rclpy's action client stores a request after it has sent it: an answer that the other thread reads
        between the two would be lost.
        """
        return _wait(self._executor.create_task(ask), 5.0, "this program's own callbacks")

    def _accepted(self, client: Any, request: Any, name: str, timeout_s: float = 5.0) -> str:
        response = self.call(client, request, name, timeout_s)
        if not response.success:
            raise ValueError(f"{name} refused: {response.message}")
        return str(response.message)

    def call(self, client: Any, request: Any, name: str, timeout_s: float) -> Any:
        """The response of a service of this node's client. Raises TimeoutError."""
        if not client.wait_for_service(timeout_sec=timeout_s):
            raise TimeoutError(
                f"no server of {name} in ROS domain {self._context.get_domain_id()}"
            )
        return _wait(client.call_async(request), timeout_s, name)

    def _why_refused(self, instruction: str, told: int) -> str:
        """The reason, for which an action has no field. told: outcomes received before."""
        end = time.monotonic() + REASON_S
        while time.monotonic() < end:
            for outcome in self.outcomes[told:]:
                same = outcome.instruction.strip() == instruction.strip()
                if same and outcome.outcome == ExecuteInstruction.Result.REFUSED:
                    return str(outcome.message)
            time.sleep(0.02)
        return "the task node did not take the instruction and gave no reason; see its log"

    def _on_outcome(self, message: InstructionOutcome) -> None:
        self.outcomes.append(message)

    def _on_status(self, message: ControlStatus) -> None:
        self.status = message

    def _on_event(self, message: SimEvent) -> None:
        self.event = message


def _wait(future: Any, timeout_s: float, name: str) -> Any:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout_s):
        raise TimeoutError(f"no answer of {name} in {timeout_s:g} s")
    return future.result()
