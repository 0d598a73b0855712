"""The policy node's planner of long tasks: PlanSubtask requests to a planner of planners/ and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vla_policy.planners.choose import find_planner
from vla_policy.ros.messages import convert
from vla_policy.runtime.planning import Answered, PlanAnswer, PlanRequest, attempt_of, sentence
from vla_policy.runtime.policy_protocol import Unavailable
from vla_policy.srv import PlanSubtask
from vla_policy.types import Reason

if TYPE_CHECKING:
    from vla_policy.ros.nodes.policy_params import PolicyParams
    from vla_policy.runtime.inference import Inference


class PolicyPlanner:
    """Made on each configure. Raises ValueError for a planner that cannot be used."""

    def __init__(self, params: PolicyParams) -> None:
        self._planner = find_planner(
            params.planner,
            model=params.planner_model,
            timeout_s=params.planner_timeout_s,
            pictures=params.planner_pictures,
            device=params.device,
        )

    def answer(
        self, inference: Inference, request: PlanSubtask.Request, log: Any
    ) -> PlanSubtask.Response:
        """Runs in a thread of its own. Whatever goes wrong is a reason; nothing moves by it."""
        answer = self._answer(inference, request, log)
        return PlanSubtask.Response(
            kind=int(answer.kind), text=answer.text, seen=list(answer.seen)
        )

    def _answer(self, inference: Inference, request: PlanSubtask.Request, log: Any) -> PlanAnswer:
        if self._planner is None:
            return PlanAnswer(
                Answered.FAILED, "the policy node has no planner; its parameter `planner` is none"
            )
        looked = inference.look(request.instruction, convert.ns_from_stamp(request.not_before))
        if isinstance(looked, Reason):
            return PlanAnswer(Answered.NOT_READY, looked.detail)
        pairs = zip(request.subtasks, request.outcomes, strict=False)
        asked = PlanRequest(
            request.instruction,
            tuple(attempt_of(subtask, how) for subtask, how in pairs),
            tuple(request.given_up),
            tuple(request.seen),
        )
        try:
            return self._planner(asked, *looked)
        except (ValueError, Unavailable) as error:
            return PlanAnswer(Answered.FAILED, sentence(str(error)))
        except Exception as error:  # noqa: BLE001 - outermost of the thread: whatever a model raises
            log.error(f"the planner raised {type(error).__name__}: {sentence(str(error))}")
            return PlanAnswer(
                Answered.FAILED, "the planner raised, see the log of the policy node"
            )
