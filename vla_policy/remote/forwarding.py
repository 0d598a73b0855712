"""Requests and results between a server and the copies of its policy, as wire messages.

No object of ours is pickled, and a copy checks its input like a server.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vla_policy.checkpoint.contract import Contract
from vla_policy.remote import wire
from vla_policy.remote.messages import (
    OWN,
    PROMPT,
    STATE,
    Asked,
    camera_key,
    read_chunk,
    read_request,
    write_chunk,
    write_options,
)
from vla_policy.types import ActionChunk, Reason

# Images are decoded already, so a message may be larger than a robot's.
LIMITS = wire.MessageLimits(size=1024 * 1024 * 1024)


def pack_request(asked: Asked) -> bytes:
    """asked as a message, for read_packed."""
    own: dict[str, Any] = {
        "want": asked.want, "options": write_options(asked.options), "candidates": asked.candidates,
        "question": asked.question, "request_id": asked.request_id, "adapter": asked.adapter,
    }  # fmt: skip
    message: dict[str, Any] = {PROMPT: asked.instruction, OWN: own}
    if asked.previous is not None:
        own["previous"] = write_chunk(asked.previous)
    if (seen := asked.observation) is not None:
        own["obs_ns"] = seen.obs_ns
        message |= {camera_key(name): image for name, image in seen.images.items()}
        message[STATE] = seen.state
    return wire.encode(message)


def read_packed(data: bytes, contract: Contract, adapters: tuple[str, ...]) -> Asked:
    """The request in a message of pack_request. Raises ValueError as messages.read_request."""
    return read_request(wire.decode(data, LIMITS), contract, adapters)


def pack_outcome(outcome: Any) -> bytes:
    """One result of answers.answer as a message: chunks, an answer, or a reason."""
    if isinstance(outcome, Reason):
        return wire.encode({"code": outcome.code, "detail": outcome.detail})
    if isinstance(outcome, dict):
        return wire.encode({"answer": outcome})
    chunks: tuple[ActionChunk, ...] = outcome
    return wire.encode(
        {"chunks": [write_chunk(c) for c in chunks], "infer_ns": [c.infer_ns for c in chunks]}
    )


def read_outcome(data: bytes, asked: Asked, contract: Contract) -> Any:
    """The result in a message of pack_outcome, for its request. Raises ValueError."""
    said = wire.decode(data, LIMITS)
    if "code" in said:
        return Reason(said["code"], said["detail"])
    if "answer" in said:
        return said["answer"]
    obs_ns = 1 if asked.observation is None else asked.observation.obs_ns
    return tuple(
        replace(
            read_chunk(one, contract, obs_ns=obs_ns, instruction=asked.instruction),
            infer_ns=infer_ns,
        )
        for one, infer_ns in zip(said["chunks"], said["infer_ns"], strict=True)
    )
