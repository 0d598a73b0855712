"""The page's requests, as calls of the control node's services and goals of the task node.

Called from the server's threads; answers come in the executor's. A caller cancels its future at its
time-out. A later answer must not leave a robot moving that no caller waits for: a goal
is cancelled then, and an engaged robot is disengaged.
"""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from vla_policy.action import ExecuteInstruction
from vla_policy.msg import InstructionOutcome
from vla_policy.ros.nodes.web_calls import NOT_THERE, answered, called
from vla_policy.ros.operator.client import OUTCOMES
from vla_policy.ros.process import qos
from vla_policy.runtime.instruction import Stop, stop_of
from vla_policy.types import Level
from vla_policy.web import instructions
from vla_policy.web.panel import Actions, Answer, Panel


class Requests:
    """Executes the page's requests for a node, and reports the progress of instructions to the panel."""

    def __init__(self, node: Node, panel: Panel) -> None:
        self._node, self._panel = node, panel
        self._engage = node.create_client(SetBool, "control/engage")
        self._stop = node.create_client(Trigger, "control/stop")
        self._reset = node.create_client(Trigger, "control/reset")
        self._words = node.create_publisher(String, "instruction", qos.WORDS)
        self._goals = ActionClient(node, ExecuteInstruction, "execute_instruction")
        self._lock = threading.Lock()
        self._said: instructions.Log = ()

    def actions(self) -> Actions:
        """Requests for the page's server."""
        return Actions(say=self.say, engage=self.engage, stop=self.stop, reset=self.reset)

    def stop(self) -> Future[Answer]:
        """Stop until reset."""
        return self._call(self._stop, Trigger.Request(), "stopped")

    def reset(self) -> Future[Answer]:
        """Lift a stop."""
        return self._call(self._reset, Trigger.Request(), "the stop is lifted")

    def engage(self, engaged: bool) -> Future[Answer]:
        """Engage or disengage."""
        done = "commands go through" if engaged else "no command goes through"
        return self._call(
            self._engage, SetBool.Request(data=engaged), done, self._disengage if engaged else None
        )

    def say(self, words: str) -> Future[Answer]:
        """Give an instruction; returns once it is accepted or refused; its outcome follows later.

        A stop word is no goal: it is published to all nodes that can act on it.
        """
        stop = stop_of(words)
        if stop is not None:
            return self._heed(words, stop)
        executor = self._node.executor
        if executor is None or not self._goals.server_is_ready():
            return answered(Answer(False, f"not followed: {NOT_THERE.format('task')}"))
        answer: Future[Answer] = Future()
        id = uuid.uuid4().hex
        now_ns = self._node.get_clock().now().nanoseconds
        self._tell(lambda log: instructions.given(log, id, words, now_ns))
        answer.add_done_callback(partial(self._if_given_up, id))
        # In the executor's thread: no response may arrive between sending and storing the future.
        executor.create_task(self._send_goal, words, id, answer)
        return answer

    def _heed(self, words: str, stop: Stop) -> Future[Answer]:
        heard = self._words.get_subscription_count() > 0
        self._words.publish(String(data=words))
        if stop is Stop.LATCH:  # received already; the service confirms it
            return self.stop()
        if not heard:
            return answered(
                Answer(False, "nobody hears it: neither the control nor the task node is there")
            )
        return answered(Answer(True, "passed on: what is being done ends, the robot holds"))

    def judge(self, words: str, reached: bool, stamp_ns: int) -> None:
        """The simulation's verdict on the task of this wording."""
        self._tell(lambda log: instructions.judged(log, words, reached, stamp_ns))

    def explain(self, told: InstructionOutcome) -> None:
        """Why an instruction was refused; a rejected goal itself has no field for it."""
        if told.outcome == ExecuteInstruction.Result.REFUSED:
            self._tell(lambda log: instructions.explained(log, told.instruction, told.message))

    def _send_goal(self, words: str, id: str, answer: Future[Answer]) -> None:
        if answer.cancelled():
            return
        taken = self._goals.send_goal_async(
            ExecuteInstruction.Goal(instruction=words),
            feedback_callback=lambda msg: self._on_feedback(id, words, msg.feedback),
        )
        taken.add_done_callback(partial(self._on_taken, id, answer))

    def _on_taken(self, id: str, answer: Future[Answer], taken: Any) -> None:
        handle = taken.result()
        waited_for = answer.set_running_or_notify_cancel()
        if not handle.accepted:
            self._tell(lambda log: instructions.rejected(log, id))
            if waited_for:
                answer.set_result(Answer(False, instructions.NO_REASON, id))
            return
        if not waited_for:
            self._node.get_logger().warning("an instruction was taken too late: it is cancelled")
            handle.cancel_goal_async()
            return
        self._tell(lambda log: instructions.progressed(log, id, "taken"))
        answer.set_result(Answer(True, "taken", id))
        handle.get_result_async().add_done_callback(partial(self._on_result, id))

    def _on_result(self, id: str, ending: Any) -> None:
        response = ending.result()
        if response.status == GoalStatus.STATUS_UNKNOWN:
            outcome, message = "stale", "the task node is gone"
        else:
            outcome = OUTCOMES.get(response.result.outcome, "unknown")
            message = response.result.message
        self._tell(lambda log: instructions.ended(log, id, outcome, message))

    def _on_feedback(self, id: str, words: str, feedback: ExecuteInstruction.Feedback) -> None:
        does = "following" if feedback.subtask == words else feedback.subtask
        held = f", held: {feedback.reason}" if feedback.level >= Level.HOLD else ""
        self._tell(lambda log: instructions.progressed(log, id, f"{does}{held}"))

    def _if_given_up(self, id: str, answer: Future[Answer]) -> None:
        if answer.cancelled():
            late = "no answer of the task node; if it takes it yet, it is cancelled"
            self._tell(lambda log: instructions.ended(log, id, "unanswered", late))

    def _tell(self, change: Any) -> None:
        with self._lock:
            self._said = change(self._said)
            self._panel.tell(goals=instructions.told(self._said))

    def _call(self, client: Any, request: Any, done: str, if_late: Any = None) -> Future[Answer]:
        """Call a service. done: the message if its answer has none; if_late: see called."""

        def late(response: Any) -> None:
            if response.success:
                if_late()

        return called(
            client,
            request,
            lambda response: Answer(response.success, response.message or done),
            None if if_late is None else late,
        )

    def _disengage(self) -> None:
        self._node.get_logger().warning("the robot was engaged too late: it is disengaged again")
        self._engage.call_async(SetBool.Request(data=False))
