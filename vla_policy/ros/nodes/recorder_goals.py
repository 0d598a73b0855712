"""Takes as goals of the action record_episode: one at a time, its result when it was kept or discarded."""

from __future__ import annotations

from typing import Any, Protocol

from action_msgs.msg import GoalStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from vla_policy.action import RecordEpisode
from vla_policy.data.recording import Phase
from vla_policy.data.recording_session import Moment
from vla_policy.data.take_verdict import TakeVerdict
from vla_policy.msg import InstructionOutcome
from vla_policy.ros.messages.convert import ns_from_stamp
from vla_policy.ros.messages.recorder_status import feedback_msg

FEEDBACK_EVERY = 2  # turns
Goal = RecordEpisode.Goal


class Recorder(Protocol):
    """What a goal does with the recorder."""

    @property
    def folder(self) -> str: ...

    @property
    def last_verdict(self) -> TakeVerdict | None: ...

    def say(self, text: str) -> None: ...

    def refusal(self, task: str) -> str | None: ...

    async def begin(self, task: str, limit_ns: int) -> str | None: ...

    async def end(self, reason: Any = None) -> str | None: ...

    async def save(self, success: bool | None) -> tuple[bool, str]: ...

    async def discard(self) -> tuple[bool, str]: ...

    def moment(self) -> Moment: ...

    def start(self, work: Any) -> None: ...


class RecorderGoals:
    """The action server.

    turn() runs several times a second, heard() for each ended instruction.
    """

    def __init__(self, node: Node, recorder: Recorder) -> None:
        self._node, self._recorder = node, recorder
        self._goal: ServerGoalHandle | None = None
        self._said = ""
        self._episode = self._turns = 0
        self._deciding = self._canceling = False
        self._server = ActionServer(
            node,
            RecordEpisode,
            "record_episode",
            execute_callback=_never,
            goal_callback=self._on_request,
            handle_accepted_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """End the server."""
        self._server.destroy()

    def heard(self, outcome: InstructionOutcome) -> None:
        """An instruction has ended: so does the take that gave it."""
        if self._goal is not None and self._said and outcome.instruction.strip() == self._said:
            self._said = ""
            self._recorder.start(self._recorder.end())

    def turn(self) -> None:
        """Feedback, cancellation, and the decision where the goal leaves it to the verdict."""
        goal = self._goal
        if goal is None:
            return
        moment = self._recorder.moment()
        if goal.is_cancel_requested and not self._canceling:
            self._canceling = True
            self._take_back()
            self._recorder.start(self._recorder.discard())
            return
        if moment.phase is Phase.DECIDING:
            self._take_back()
            if goal.request.decide == Goal.BY_VERDICT and not self._deciding:
                self._deciding = True
                self._recorder.start(self._decide(moment.verdict))
        self._turns += 1
        if self._turns % FEEDBACK_EVERY == 0:
            goal.publish_feedback(feedback_msg(moment))

    def decided(self, saved: bool, sentence: str) -> None:
        """The take was kept or discarded, by any client."""
        if self._goal is not None:
            self._take_back()
            self._finish(saved, sentence)

    def give_up(self, why: str) -> None:
        """The recorder ends: so does the goal."""
        if self._goal is not None:
            self._take_back()
            self._finish(False, why)

    def _on_request(self, request: Any) -> GoalResponse:
        refusal = self._recorder.refusal(request.task)
        if self._goal is not None:
            refusal = "another take is open"
        if refusal is None and request.instruction == Goal.SAY and not request.task.strip():
            refusal = "no task: an instruction that is to be given must be in the goal"
        if refusal is None:
            return GoalResponse.ACCEPT
        self._node.get_logger().warning(f"no take: {refusal}")
        return GoalResponse.REJECT

    def _on_goal(self, goal: ServerGoalHandle) -> None:
        self._goal, self._said = goal, ""
        self._deciding = self._canceling = False
        self._recorder.start(self._begin(goal))

    async def _begin(self, goal: Any) -> None:
        request = goal.request
        limit_ns = max(0, ns_from_stamp(request.max_duration))
        refusal = await self._recorder.begin(request.task, limit_ns)
        if self._goal is not goal:
            return
        if refusal is not None:
            self._finish(False, refusal)
            return
        self._episode = self._recorder.moment().episode
        if request.instruction == Goal.SAY:
            self._said = request.task.strip()
            self._recorder.say(self._said)

    async def _decide(self, verdict: TakeVerdict | None) -> None:
        if verdict is not None and verdict.keep:
            kept, sentence = await self._recorder.save(None)
            if not kept and self._goal is not None:
                self._node.get_logger().error(f"not kept, and not discarded: {sentence}")
        else:
            await self._recorder.discard()

    def _take_back(self) -> None:
        """End the instruction that this take gave."""
        if self._said:
            self._said = ""
            self._recorder.say("")

    def _finish(self, saved: bool, sentence: str) -> None:
        goal, self._goal = self._goal, None
        if goal is None:
            return
        verdict = self._recorder.last_verdict
        result = RecordEpisode.Result(
            saved=saved,
            episode=self._episode,
            keep=verdict is not None and verdict.keep,
            reasons=[] if verdict is None else list(verdict.sentences),
            path=self._recorder.folder,
            message=sentence,
        )

        def execute(handle: ServerGoalHandle) -> RecordEpisode.Result:
            if handle.is_cancel_requested:
                handle.canceled()
            elif saved:
                handle.succeed()
            else:
                handle.abort()
            return result

        if goal.status in (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_CANCELING):
            goal.execute(execute)


def _never(goal: ServerGoalHandle) -> RecordEpisode.Result:
    raise RuntimeError("a goal is executed with the callback that knows its outcome")
