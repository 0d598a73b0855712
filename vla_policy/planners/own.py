"""The planner `model`: the policy that acts plans as well, by where it points or in its own words."""

from __future__ import annotations

from vla_policy.planners.rules import next_step
from vla_policy.planners.words import SYSTEM, question
from vla_policy.runtime.planning import PlanAnswer, PlanRequest, read_answer
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Observation


def own_planner(
    request: PlanRequest, policy: PolicyProtocol, observation: Observation
) -> PlanAnswer:
    """Rules for a policy that points, else the answer of one that answers questions.

    Raises ValueError for a policy that does neither.
    """
    if policy.can_point:
        return next_step(request, policy, observation)
    if policy.can_answer:
        return read_answer(policy.ask(observation, f"{SYSTEM}\n\n{question(request, policy, ())}"))
    raise ValueError("this policy neither points nor answers questions; choose another planner")
