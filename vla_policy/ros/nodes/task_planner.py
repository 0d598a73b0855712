"""The task node's questions to the planner, which runs in the policy's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from vla_policy.ros.messages.convert import stamp_from_ns
from vla_policy.runtime.long_task import LongTask
from vla_policy.runtime.planning import MAX_SEEN, Answered, PlanAnswer, told
from vla_policy.srv import PlanSubtask

NOBODY = "the policy node does not answer; is it running, and configured?"


class PlanQuestions:
    """One question at a time; the answer to one that was given up is dropped.

    on_answer: called among the node's callbacks.
    """

    def __init__(self, node: Node, on_answer: Callable[[PlanAnswer], None]) -> None:
        self._client = node.create_client(PlanSubtask, "policy/plan_subtask")
        self._on_answer = on_answer
        self._waiting: Any = None

    def ask(self, task: LongTask) -> None:
        """The planner's next answer on task; NOT_READY at once while nobody serves."""
        self.drop()
        if not self._client.service_is_ready():
            self._on_answer(PlanAnswer(Answered.NOT_READY, NOBODY))
            return
        asked = task.request
        request = PlanSubtask.Request(
            instruction=asked.instruction,
            subtasks=[past.subtask for past in asked.done],
            outcomes=[told(past) for past in asked.done],
            given_up=list(asked.given_up),
            seen=list(asked.seen),
            not_before=stamp_from_ns(task.due_ns),
        )
        self._waiting = self._client.call_async(request)
        self._waiting.add_done_callback(self._hear)

    def drop(self) -> None:
        """Wait for no answer any more."""
        if self._waiting is not None:
            self._client.remove_pending_request(self._waiting)
            self._waiting = None

    def client(self) -> Any:
        """To be destroyed by the node."""
        return self._client

    def _hear(self, future: Any) -> None:
        if future is not self._waiting:
            return
        self._waiting = None
        self._on_answer(_answer(future.result()))


def _answer(response: PlanSubtask.Response) -> PlanAnswer:
    if response.kind not in set(Answered):
        return PlanAnswer(Answered.FAILED, f"an answer of the unknown kind {response.kind}")
    return PlanAnswer(Answered(response.kind), response.text, tuple(response.seen[:MAX_SEEN]))
