"""Instructions as an action and as a plain topic; one is followed at a time.

All callbacks run in one thread. A goal is handed to the action server's machinery only when its
outcome is known, because a callback that waits, or a coroutine, would occupy the executor.
"""

from __future__ import annotations

import time
from typing import Any

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String

from vla_policy.action import ExecuteInstruction
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlStatus, InstructionOutcome
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes.task_diagnostics import (
    GOOD_ENDINGS,
    diagnosis,
    feedback,
    outcome,
    planning_feedback,
)
from vla_policy.ros.nodes.task_params import TaskParams, bounds_of, long_bounds_of
from vla_policy.ros.nodes.task_planner import PlanQuestions
from vla_policy.ros.process import qos
from vla_policy.ros.process.diagnostic_names import identified
from vla_policy.ros.process.params import follow_params, read_params
from vla_policy.ros.process.run_node import run_node
from vla_policy.runtime import long_task
from vla_policy.runtime.instruction import Stop, stop_of
from vla_policy.runtime.long_task import Follow, Heed, LongTask
from vla_policy.runtime.planning import NONE, PlanAnswer
from vla_policy.runtime.task import (
    Ended,
    Outcome,
    Status,
    TaskRun,
    ending,
    refuse_start,
    stopped_by,
    with_chunk,
    with_clock,
    with_status,
)
from vla_policy.timing import ns_from_s
from vla_policy.types import Level, required

WATCH_S = 0.05
FEEDBACK_EVERY = 4  # watch periods
DIAGNOSTICS_EVERY = 20


class TaskNode(LifecycleNode):
    """Publishes active_instruction for the policy and the outcome of each run."""

    def __init__(self) -> None:
        super().__init__("task")
        self._use(follow_params(self, TaskParams, on_change=self._use))
        self._active = False
        self._run: TaskRun | None = None
        self._long: LongTask | None = None  # of which _run is a sub-task; thinking without one
        self._goal: ServerGoalHandle | None = None
        self._status: Status | None = None
        self._last: tuple[str, Ended] | None = None
        self._endpoints: list[tuple[Any, Any]] = []
        self._watched = 0
        self._outcomes = self.create_publisher(
            InstructionOutcome, "instruction_outcome", qos.OUTCOMES
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)

    def _use(self, params: TaskParams) -> None:
        """The present run is judged by the new bounds; its own time limit stays."""
        self._params, self._bounds = params, bounds_of(params)
        self._long_bounds = long_bounds_of(params)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._use(read_params(self, TaskParams))
        except ValueError as error:
            self.get_logger().error(f"not configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._instructions = self.create_publisher(String, "active_instruction", qos.ACTIVE)
        self._said = self.create_publisher(String, "instruction", qos.WORDS)
        # Steady: if the clock of a simulation stops, a run must still end.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        listen = self.create_subscription
        subscriptions = (
            listen(String, "instruction", self._on_instruction, qos.WORDS),
            listen(ActionChunkMsg, "action_chunk", self._on_chunk, qos.COMMAND),
            listen(ControlStatus, "control_status", self._on_status, qos.LATCHED),
            listen(InstructionOutcome, "instruction_refused", self._on_refusal, qos.WORDS),
        )
        self._questions = PlanQuestions(self, self._on_answer)
        self._server = ActionServer(
            self,
            ExecuteInstruction,
            "execute_instruction",
            execute_callback=_never,
            goal_callback=self._on_request,
            handle_accepted_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        watch = self.create_timer(WATCH_S, self._on_watch, clock=steady)
        self._endpoints = [
            (self.destroy_publisher, self._instructions),
            (self.destroy_publisher, self._said),
            *((self.destroy_subscription, subscription) for subscription in subscriptions),
            (self.destroy_timer, watch),
            (self.destroy_client, self._questions.client()),
        ]
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = True
        self._instructions.publish(String())
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._end(Ended(Outcome.CANCELED, "the task node was deactivated"))
        self._active = False
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The endpoints stay until close(): the goal's result is still to be sent."""
        self.part()
        self._active = False
        return TransitionCallbackReturn.SUCCESS

    def part(self) -> None:
        """Before the callbacks end: the run ends, and clients that wait for it get its outcome."""
        self._end(Ended(Outcome.CANCELED, "the task node was shut down"))

    def close(self) -> None:
        """Once the callbacks have ended."""
        self._release()

    def _release(self) -> None:
        if not self._endpoints:
            return
        self._server.destroy()
        for destroy, endpoint in self._endpoints:
            destroy(endpoint)
        self._endpoints = []

    def _on_instruction(self, msg: String) -> None:
        """The plain topic: a goal without a client; an empty text stops."""
        text, stop = msg.data.strip(), stop_of(msg.data)
        if stop is not None:
            self._heed(text, stop, None)
        elif not msg.data:
            self._end(Ended(Outcome.CANCELED, "an empty instruction was sent"))
        elif text and text == self._words:
            pass  # a repeated message does not start the same instruction again
        else:
            self._start(text or msg.data, 0, None)

    def _on_request(self, request: ExecuteInstruction.Goal) -> GoalResponse:
        """Reject at once what cannot be followed; the reason goes to instruction_outcome."""
        text = request.instruction.strip() or request.instruction
        if stop_of(text) is not None:
            return GoalResponse.ACCEPT  # a stop word is taken in every state
        problem = self._problem(text)
        if problem is None:
            return GoalResponse.ACCEPT
        self._report(text, Ended(Outcome.REFUSED, problem))
        return GoalResponse.REJECT

    def _on_goal(self, goal: ServerGoalHandle) -> None:
        timeout_ns = convert.ns_from_stamp(goal.request.timeout)
        text, stop = goal.request.instruction, stop_of(goal.request.instruction)
        if stop is not None:
            self._heed(text.strip(), stop, goal)
        else:
            self._start(text.strip() or text, timeout_ns, goal)

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        return CancelResponse.ACCEPT

    def _heed(self, text: str, stop: Stop, goal: ServerGoalHandle | None) -> None:
        """A stop word, in every state: the run ends; the control node receives it as well."""
        how = stopped_by(text, stop)
        if goal is not None and stop is Stop.LATCH:
            self._said.publish(String(data=text))
        if self._words:
            self._end(how)
        elif self._active:
            self._instructions.publish(String())
        if goal is not None:
            self._report(text, how)
            self._finish(goal, how)

    @property
    def _words(self) -> str:
        """What is being followed, long or not; empty if nothing."""
        followed = self._long or self._run
        return "" if followed is None else followed.instruction

    def _start(self, text: str, timeout_ns: int, goal: ServerGoalHandle | None) -> None:
        """timeout_ns: 0 or less: the node's."""
        problem = self._problem(text)
        if problem is not None:
            self._report(text, Ended(Outcome.REFUSED, problem))
            if goal is not None:
                self._finish(goal, Ended(Outcome.REFUSED, problem))
            return
        planned = self._params.planner != NONE
        taken = Ended(Outcome.PREEMPTED, f"another instruction took over: {text}")
        self._end(taken, then="" if planned else text)
        self._goal = goal
        own_ns = timeout_ns if timeout_ns > 0 else ns_from_s(self._params.timeout_s)
        if planned:
            long_ns = timeout_ns if timeout_ns > 0 else ns_from_s(self._params.long_timeout_s)
            self._long = long_task.begin(
                text, self._now_ns(), long_ns, own_ns, time.monotonic_ns()
            )
        else:
            self._follow(text, own_ns)
        self.get_logger().info(f"start: {text}")

    def _follow(self, text: str, timeout_ns: int) -> None:
        """A run of text, the active instruction, begins."""
        self._run = TaskRun(text, self._now_ns(), timeout_ns, time.monotonic_ns(), self._status)

    def _on_answer(self, answer: PlanAnswer) -> None:
        """What the planner says is obeyed or refused like a person's words; it moves nothing else."""
        now_ns = self._now_ns()
        if self._long is None or self._run is not None or self._canceled:
            return
        if (how := self._over(self._long, now_ns)) is not None:
            self._end(how)
            return
        self._long, step = long_task.answered(self._long, answer, self._long_bounds, now_ns)
        if isinstance(step, Ended):
            self._end(step)
        elif isinstance(step, Heed):
            if step.stop is Stop.LATCH:
                self._said.publish(String(data=step.text))  # the control node hears it
            self._end(long_task.heeded(step))
        elif isinstance(step, Follow):
            if (problem := self._problem(step.subtask)) is not None:
                self._end(Ended(Outcome.REFUSED, problem))
                return
            if step.direct:
                self._long = None
            else:
                self.get_logger().info(f"sub-task {len(self._long.done) + 1}: {step.subtask}")
            self._instructions.publish(String(data=step.subtask))
            self._follow(step.subtask, step.timeout_ns)

    def _conclude(self, how: Ended) -> None:
        """The run ends by itself: of a long task, the planner looks at what came of it."""
        run, long = self._run, self._long
        if long is None or run is None:
            self._end(how)
            return
        after = long_task.subtask_ended(
            long, run.instruction, how, run.chunks, self._now_ns(), time.monotonic_ns()
        )
        if isinstance(after, Ended):
            self._end(after)
            return
        self._run, self._long = None, after
        self._instructions.publish(String())  # the robot holds
        self.get_logger().info(f"sub-task {run.instruction!r}: {how.outcome.name}: {how.message}")

    def _think(self, long: LongTask, now_ns: int) -> None:
        """While no sub-task is followed: the robot holds, and the planner is asked when it is time."""
        self._long = long = long_task.with_clock(long, now_ns)
        if (how := self._over(long, now_ns)) is not None:
            self._end(how)
        elif long_task.is_due(long, now_ns):
            self._long = long_task.asked(long)
            self._questions.ask(self._long)

    def _over(self, long: LongTask, now_ns: int) -> Ended | None:
        """How long ends now, without a sub-task."""
        status = required(self._status, "status")  # nothing starts before the first
        steady_ns = time.monotonic_ns()
        return long_task.over(long, status, self._bounds, self._long_bounds, now_ns, steady_ns)

    @property
    def _canceled(self) -> bool:
        return self._goal is not None and self._goal.is_cancel_requested

    def _problem(self, text: str) -> str | None:
        """Why text cannot be started now, one sentence; None if it can."""
        if not self._active:
            return "the task node is not active"
        return refuse_start(text, self._status, self._bounds, time.monotonic_ns())

    def _end(self, how: Ended, then: str = "") -> None:
        """End what is being followed, if anything, and publish the policy's next instruction."""
        words, run, long, goal = self._words, self._run, self._long, self._goal
        self._run = self._long = self._goal = None
        if self._active and (words or then):
            self._instructions.publish(String(data=then))
        if not words:
            return
        if long is not None:
            self._questions.drop()
        self._report(words, how)
        if goal is not None:
            self._finish(goal, how, run, long)

    def _report(self, text: str, how: Ended) -> None:
        self._last = (text, how)
        self._outcomes.publish(outcome(text, how, self._now_ns()))
        sentence = f"{how.outcome.name}: {how.message} ({text[:60]!r})"
        if how.outcome in GOOD_ENDINGS:  # two lines, as rclpy binds a severity to a line
            self.get_logger().info(sentence)
        else:
            self.get_logger().warning(sentence)

    def _finish(
        self,
        goal: ServerGoalHandle,
        how: Ended,
        run: TaskRun | None = None,
        long: LongTask | None = None,
    ) -> None:
        """Send the goal's result."""
        result = ExecuteInstruction.Result(outcome=int(how.outcome), message=how.message)
        result.chunks = (run.chunks if run is not None else 0) + (
            long.chunks if long is not None else 0
        )
        if (followed := long or run) is not None and followed.started_ns:
            elapsed_ns = max(0, self._now_ns() - followed.started_ns)
            result.elapsed = convert.duration_from_ns(elapsed_ns)

        def execute(handle: ServerGoalHandle) -> ExecuteInstruction.Result:
            if handle.is_cancel_requested:
                handle.canceled()
            elif how.outcome is Outcome.DONE:
                handle.succeed()
            else:
                handle.abort()
            return result

        if goal.status in (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_CANCELING):
            goal.execute(execute)

    def _on_chunk(self, msg: ActionChunkMsg) -> None:
        if self._run is None:
            return
        try:
            chunk = convert.chunk_from_msg(msg, "action_chunk")
        except ValueError:
            return  # the control node reports it; here it counts as silence
        self._run = with_chunk(self._run, chunk, self._now_ns(), time.monotonic_ns())

    def _on_refusal(self, msg: InstructionOutcome) -> None:
        """The policy does not follow the instruction: nothing has moved for it."""
        if self._run is not None and self._run.instruction == msg.instruction:
            self._conclude(Ended(Outcome.REFUSED, msg.message))

    def _on_status(self, msg: ControlStatus) -> None:
        self._status = Status(
            engaged=msg.engaged,
            level=Level(msg.level) if msg.level <= Level.STOP else Level.STOP,
            reason=msg.reason,
            detail=msg.detail,
            queued_rows=msg.queued_rows,
            mode=msg.mode,
            heard_ns=time.monotonic_ns(),
        )
        if self._run is not None:
            self._run = with_status(self._run, self._status)

    def _on_watch(self) -> None:
        self._watched += 1
        if self._watched % DIAGNOSTICS_EVERY == 0:
            now = self.get_clock().now()
            report = diagnosis(self._long, self._run, self._last, now.nanoseconds)
            self._diagnostics.publish(identified(self, report, self._params.embodiment))
        run, long = self._run, self._long
        now_ns, steady_ns = self._now_ns(), time.monotonic_ns()
        if run is None and long is None:
            return
        if self._canceled:
            self._end(Ended(Outcome.CANCELED, "the client canceled"))
        elif run is not None:
            run = self._run = with_clock(run, now_ns)
            how = ending(run, self._bounds, now_ns, steady_ns)
            if long is not None and (up := long_task.late(long, now_ns)) is not None:
                self._end(up)
            elif how is not None:
                self._conclude(how)
            else:
                self._tell(feedback(run, planned=long is not None))
        elif long is not None:
            self._tell(planning_feedback(required(self._status, "status")))
            self._think(long, now_ns)

    def _tell(self, told: ExecuteInstruction.Feedback) -> None:
        """Feedback to the client, if there is one, now and then."""
        if self._goal is not None and self._watched % FEEDBACK_EVERY == 0:
            self._goal.publish_feedback(told)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def _never(goal: ServerGoalHandle) -> ExecuteInstruction.Result:
    raise RuntimeError("a goal is executed with the callback that knows its outcome")


def main() -> int:
    """Entry point of the executable `task_node`."""
    return run_node(TaskNode)
