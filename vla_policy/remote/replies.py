"""What a server writes back to the sender of a request."""

from __future__ import annotations

from typing import Any

from vla_policy.remote.messages import OWN, Asked, write_chunk
from vla_policy.types import ActionChunk


def request_of(message: Any) -> dict[str, Any] | None:
    """The request's own number if it can be parsed so far; None: not from our client."""
    own = message.get(OWN) if isinstance(message, dict) else None
    number = own.get("request_id") if isinstance(own, dict) else None
    return {"request_id": number} if type(number) is int else None


def reply_to(asked: Asked, outcome: Any, infer_ms: float, before_ms: float) -> dict[str, Any]:
    """The reply to asked, in openpi's form where that is what asked.

    infer_ms: what a batch takes, for policies that do not say it themselves. before_ms: what the previous answer took.
    """
    if isinstance(outcome, dict):
        return {OWN: {"request_id": asked.request_id, **outcome}}
    chunks: tuple[ActionChunk, ...] = outcome
    infer_ms = chunks[0].infer_ns / 1e6 or infer_ms
    reply: dict[str, Any] = {
        "policy_timing": {"infer_ms": infer_ms},
        "server_timing": {"infer_ms": infer_ms, "prev_total_ms": before_ms},
    }
    if asked.own:
        reply[OWN] = {"request_id": asked.request_id, "chunks": [write_chunk(c) for c in chunks]}
    else:
        state = None if asked.observation is None else asked.observation.state
        reply |= {"actions": chunks[0].actions, "state": state}
    return reply


def endpoint_answer(name: Any) -> str:
    """RoboArena's clients reset before an episode; the server keeps no state to reset."""
    return "reset successful" if name == "reset" else "endpoint: expected infer or reset"
