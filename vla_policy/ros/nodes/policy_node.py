"""The policy as a lifecycle node: cameras and robot state in, action chunks out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point, PointStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_msgs.msg import Header, String

from vla_policy.embodiment import load_embodiment
from vla_policy.execution.replanning import Continuation, replan_interval_rows
from vla_policy.msg import ActionChunk as ActionChunkMsg
from vla_policy.msg import ControlStatus, InstructionOutcome
from vla_policy.ros.inputs.policy_inputs import PolicyInputs
from vla_policy.ros.messages import convert
from vla_policy.ros.nodes import policy_startup
from vla_policy.ros.nodes.policy_adapters import PolicyAdapters
from vla_policy.ros.nodes.policy_diagnostics import QUIET, report
from vla_policy.ros.nodes.policy_params import PolicyParams, inference_config, refuse, refuse_for
from vla_policy.ros.nodes.policy_planner import PolicyPlanner
from vla_policy.ros.nodes.task_diagnostics import outcome
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.diagnostic_names import identified
from vla_policy.ros.process.params import follow_params, read_params
from vla_policy.ros.process.run_node import run_node
from vla_policy.runtime.control_mode import AUTONOMOUS
from vla_policy.runtime.inference import Inference
from vla_policy.runtime.latency import slow
from vla_policy.runtime.task import Ended, Outcome
from vla_policy.srv import GetActionChunk, PlanSubtask, SetAdapter
from vla_policy.types import ActionChunk, Array, Reason

STATUS_S = 0.5
NOT_READY = ("missing", "stale", "future", "skew", "state", "inactive", "unavailable")


class PolicyNode(LifecycleNode):
    """Publishes action_chunk while active_instruction is not empty."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._inference: Inference | None = None
        self._policy: Any = None
        self._params = follow_params(
            self,
            PolicyParams,
            configured=lambda: self._inference is not None,
            refuse=self._refuse_params,
            on_change=self._on_params,
        )
        self._log = ChangeLogger(self.get_logger())
        self._inputs: PolicyInputs | None = None
        self._adapters: Any = None  # PolicyAdapters, while the node is configured
        self._planner: Any = None  # PolicyPlanner, likewise
        self._endpoints: list[tuple[Any, Any]] = []
        self._refusal = ""
        self._instruction, self._mode = "", AUTONOMOUS
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        # Steady: this must be reported even if the clock of a simulation stops.
        self.create_timer(STATUS_S, self._on_status, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._params = params = read_params(self, PolicyParams)
            self._robot = robot = load_embodiment(params.embodiment)
            policy = policy_startup.load(
                robot, params.policy, params.head, params.device, params.threads
            )
            if (problem := refuse_for(policy, params)) is not None:
                raise ValueError(problem)
            self._planner = PolicyPlanner(params)
            self._adapters = PolicyAdapters(robot, params, policy)
            self._inputs = PolicyInputs(self, robot, self._log, self._add)
        except policy_startup.REFUSALS as error:
            self._refusal = str(error)
            self.get_logger().error(f"not configured: {error}")
            return TransitionCallbackReturn.FAILURE
        self._refusal, self._policy = "", policy
        self._rows = policy.rows
        execute_rows = replan_interval_rows(policy.rows, params.execute_rows)
        self._inference = Inference(
            policy,
            self._inputs.cameras,
            self._inputs.states,
            inference_config(params, robot, policy.rows),
            now_ns=lambda: self.get_clock().now().nanoseconds,
            on_chunk=self._publish,
            on_error=lambda text: self.get_logger().error(f"the model raised:\n{text}"),
            on_refusal=self._refuse,
            on_place=self._point,
            adapter=self._adapters.first,
        )
        self._add_endpoints()
        self.get_logger().info(policy.understanding)
        self.get_logger().info(
            f"policy {params.policy} ({policy.head} head, {params.device}) for {robot.name}; "
            f"cameras {', '.join(robot.camera_names)}; {params.scheme}, a chunk every {execute_rows} rows"
        )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._inference.set_active(True)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._inference.set_active(False)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
        if self._inference is not None:
            self._inference.close()
        if self._adapters is not None:
            self._adapters.close()
        self._inputs = self._inference = self._adapters = self._policy = self._planner = None
        for destroy, endpoint in self._endpoints:
            destroy(endpoint)
        self._endpoints = []

    def _add_endpoints(self) -> None:
        instruction = self.create_subscription(
            String,
            "active_instruction",
            self._on_instruction,
            qos.ACTIVE,
            event_callbacks=SubscriptionEventCallbacks(liveliness=self._on_task_liveliness),
        )
        status = self.create_subscription(
            ControlStatus, "control_status", self._on_control_status, qos.LATCHED
        )
        self._refused = self.create_publisher(InstructionOutcome, "instruction_refused", qos.WORDS)
        self._chunks = self.create_lifecycle_publisher(ActionChunkMsg, "action_chunk", qos.COMMAND)
        self._places = self.create_lifecycle_publisher(PointStamped, "pointed_place", qos.COMMAND)
        # Its own group: the answer takes an inference, and the streams continue meanwhile.
        service = self.create_service(
            GetActionChunk,
            "~/get_action_chunk",
            self._on_request,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        adapter = self.create_service(
            SetAdapter,
            "~/set_adapter",
            self._on_adapter,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        plan = self.create_service(
            PlanSubtask,
            "~/plan_subtask",
            self._on_plan,
            callback_group=ReentrantCallbackGroup(),  # a slow answer keeps no later question waiting
        )
        self._endpoints += [
            (self.destroy_service, plan),
            (self.destroy_service, adapter),
            (self.destroy_subscription, instruction),
            (self.destroy_subscription, status),
            (self.destroy_publisher, self._refused),
            (self.destroy_lifecycle_publisher, self._chunks),
            (self.destroy_lifecycle_publisher, self._places),
            (self.destroy_service, service),
        ]

    def _refuse_params(self, params: PolicyParams) -> str | None:
        return refuse(params) or refuse_for(self._policy, params)

    def _on_params(self, params: PolicyParams) -> None:
        """Live parameters apply from the next chunk on."""
        self._params = params
        if self._inference is not None:
            self._inference.set_config(inference_config(params, self._robot, self._rows))

    def _add(self, stream: Any, stamp_ns: int, value: Array) -> None:
        if self._inference is not None:
            self._inference.add(stream, stamp_ns, value)

    def _on_instruction(self, msg: String) -> None:
        self._instruction = msg.data.strip()
        if self._inference is not None:
            self._inference.set_instruction(self._instruction)

    def _on_control_status(self, msg: ControlStatus) -> None:
        if self._inference is None:
            return
        if msg.mode == AUTONOMOUS and self._mode != AUTONOMOUS:
            # Control is returned: earlier observations are not used; the next is inferred at once.
            self._inference.look_again(convert.ns_from_stamp(msg.header.stamp))
        self._mode = msg.mode
        # Chunks of a person have their own sequence numbers.
        if msg.queued_rows == 0 or msg.mode != AUTONOMOUS:
            self._inference.not_executing()
            return
        begin_ns, taken_ns = (
            convert.ns_from_stamp(stamp) for stamp in (msg.chunk_start, msg.chunk_taken)
        )
        self._inference.taken(msg.chunk_sequence, begin_ns, taken_ns)

    def _on_task_liveliness(self, event: Any) -> None:
        """A task node that was killed cannot end its run, so its instruction ends with it."""
        if self._inference is None:
            return
        if event.alive_count > 0:
            self._inference.set_instruction(self._instruction)
            self._log.fine("task", "the task node is heard again")
        else:
            self._inference.set_instruction("")
            self._log.problem("task", "dead", "the task node is gone; its instruction ends")

    def _refuse(self, instruction: str, why: Reason) -> None:
        """Report to the task node, which ends the run. May run in the inference thread."""
        if not rclpy.ok():
            return
        how = Ended(Outcome.REFUSED, why.detail)
        self._refused.publish(outcome(instruction, how, self.get_clock().now().nanoseconds))

    def _publish(self, chunk: ActionChunk) -> None:
        """Runs in the inference thread."""
        if rclpy.ok():
            self._chunks.publish(convert.chunk_to_msg(chunk, frame_id=self._robot.base_frame))

    def _point(self, xyz: Array, obs_ns: int) -> None:
        """Runs in the inference thread."""
        if not rclpy.ok():
            return
        header = Header(stamp=convert.stamp_from_ns(obs_ns), frame_id=self._robot.base_frame)
        x, y, z = (float(value) for value in xyz)
        self._places.publish(PointStamped(header=header, point=Point(x=x, y=y, z=z)))

    async def _on_request(
        self, request: GetActionChunk.Request, response: GetActionChunk.Response
    ) -> GetActionChunk.Response:
        answered: Any = await self._beside(
            "get_action_chunk", lambda: self._answer(request, response)
        )
        return answered

    async def _on_adapter(
        self, request: SetAdapter.Request, response: SetAdapter.Response
    ) -> SetAdapter.Response:
        def exchange() -> SetAdapter.Response:
            return self._adapters.set(self._inference, request.adapter.strip(), response)

        answered: Any = await self._beside("set_adapter", exchange)
        if answered.success:
            took_ns = convert.ns_from_stamp(answered.exchange_time)
            self.get_logger().info(
                f"adapter: {answered.in_place or 'none'}, exchanged in {took_ns / 1e3:.0f} us"
            )
        else:
            self.get_logger().error(f"adapter not changed: {answered.message}")
        return answered

    async def _on_plan(
        self, request: PlanSubtask.Request, response: PlanSubtask.Response
    ) -> PlanSubtask.Response:
        planner, inference = self._planner, self._inference
        answered: Any = await self._beside(
            "plan_subtask", lambda: planner.answer(inference, request, self.get_logger())
        )
        return answered

    def _beside(self, name: str, work: Callable[[], Any]) -> Future:
        """The result of work, in its own thread."""
        answered: Future = Future(executor=self.executor)

        def answer() -> None:
            try:
                answered.set_result(work())
            except Exception as error:  # noqa: BLE001 - outermost of the thread; the node ends with it
                answered.set_exception(error)

        threading.Thread(target=answer, name=name, daemon=True).start()
        return answered

    def _answer(
        self, request: GetActionChunk.Request, response: GetActionChunk.Response
    ) -> GetActionChunk.Response:
        """Runs in its own thread."""
        response.status, response.message = response.REFUSED, ""
        try:
            previous = (
                convert.chunk_from_msg(request.previous, "previous")
                if request.previous.rows
                else None
            )
        except ValueError as error:
            response.message = str(error)
            return response
        asked = Continuation(previous, request.frozen_rows, request.guidance_rows)
        outcome = self._inference.request(request.instruction.strip(), asked)
        if isinstance(outcome, Reason):
            failed = response.FAILED if outcome.code == "failed" else response.REFUSED
            response.status = response.NOT_READY if outcome.code in NOT_READY else failed
            response.message = outcome.detail
            return response
        response.status = response.OK
        response.chunk = convert.chunk_to_msg(outcome, frame_id=self._robot.base_frame)
        return response

    def _on_status(self) -> None:
        status = self._inference.status() if self._inference is not None else None
        stamp = self.get_clock().now().to_msg()
        understanding = "" if self._policy is None else self._policy.understanding
        entry = report(stamp, status, self._refusal, understanding)
        self._diagnostics.publish(identified(self, entry, self._params.embodiment))
        if status is None:
            return
        late = slow(status, self._rows * self._robot.step_ns / 1e9)
        if late is None:
            self._log.fine("latency", "chunks come fast enough again")
        else:
            self._log.problem("latency", "slow", late)
        if status.stopped:
            self.get_logger().error("the model keeps raising: deactivated")
            self.trigger_deactivate()
        refusal = self._inference.refusal()
        if refusal is not None:  # again, as the task node may have started later
            self._refuse(*refusal)
        reason = status.reason
        if reason is not None and reason.code not in QUIET:
            self._log.problem("inference", reason.code, f"no chunk: {reason.detail}")
        else:
            self._log.fine("inference", "the inputs are complete again")


def main() -> int:
    """Entry point of the executable `policy_node`."""
    return run_node(PolicyNode)
