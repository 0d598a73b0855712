"""A question to a language model, as words; the same for a chat server and a local model."""

from __future__ import annotations

from vla_policy.planners.table import lines, look
from vla_policy.runtime.planning import PlanRequest, sentence
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Observation

SYSTEM = """You direct a robot arm that obeys one short instruction at a time. Split the task into such instructions.
After each of them you see the table again and are asked for the next. Judge by what is seen whether it succeeded.
Answer with one JSON object and nothing else, one of
{"next": "the next short instruction"}
{"finished": "one sentence about what is done"}
{"cannot": "one sentence about why the task cannot be done"}"""
MOST = 12  # attempts and lines that are told
_NO_COMMAND = "do what you can"  # what a policy refuses this with tells what it understands


def seen_now(
    request: PlanRequest, policy: PolicyProtocol, observation: Observation
) -> tuple[str, ...]:
    """What the policy sees on the table, a line each; empty if it cannot tell."""
    try:
        return lines(look(policy, observation, request.seen))
    except ValueError:
        return ()  # the question says that it is not known


def question(request: PlanRequest, policy: PolicyProtocol, now: tuple[str, ...]) -> str:
    """What is asked after SYSTEM: the task, the table, what was begun so far and how it ended."""
    parts = [f"Task: {request.instruction}"]
    refused = policy.understands(_NO_COMMAND)
    if refused is not None:
        parts.append(f"Of words that it does not know the robot says: {sentence(refused.detail)}")
    parts.append(f"On the table: {'; '.join(now[:MOST]) or 'not known'}")
    if request.seen:
        parts.append(f"At first: {'; '.join(request.seen[:MOST])}")
    for past in request.done[-MOST:]:
        parts.append(
            f"Begun: {past.subtask!r}, which ended as {past.outcome}: {sentence(past.message)}"
        )
    parts += [f"Do not try again: {past!r}" for past in request.given_up[-MOST:]]
    return "\n".join(parts)
