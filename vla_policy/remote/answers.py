"""The policy's answers to the requests of a batch; runs in the worker thread of the server, or in a copy of the policy."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vla_policy.models.sampling import InferenceOptions, Sampling
from vla_policy.remote.messages import Asked
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import QUESTION, ActionChunk, Observation, Reason, required

# Observations and options of several robots in, their chunks out, in one batch.
InferMany = Callable[[Sequence[Observation], Sequence[InferenceOptions]], Sequence[ActionChunk]]


@dataclass(frozen=True, slots=True)
class Served:
    """A policy, and how it computes several observations at once; None: one by one."""

    policy: PolicyProtocol
    infer_many: InferMany | None = None


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies of a policy in other processes.

    answer: computes a batch on one that is free; raises if it cannot. count: how many there are. can_batch: whether they
    compute several observations at once.
    """

    answer: Callable[[Sequence[Asked]], Sequence[Any]]
    count: int
    can_batch: bool


def kind_of(asked: Asked) -> Hashable:
    """Key of requests that can share a batch; None for one that must be answered alone."""
    if asked.want != "infer" or asked.previous is not None or asked.options.candidates > 1:
        return None
    return asked.adapter, replace(asked.options, seed=None)


def answer(
    policy: PolicyProtocol,
    batch: Sequence[Asked],
    on_error: Callable[[Exception], None],
    infer_many: InferMany | None = None,
) -> list[Any]:
    """One result for each of batch: chunks, an answer, or a Reason: refused, failed.

    on_error: called with the model's exception. A batch that fails as a whole is computed one by
    one, so that the request of one robot cannot spoil those of others.
    """
    if infer_many is not None and len(batch) > 1:
        refusals = [policy.understands(asked.instruction) for asked in batch]
        if not any(refusals):
            seen = [required(asked.observation, "observation") for asked in batch]
            try:
                return [(chunk,) for chunk in infer_many(seen, [asked.options for asked in batch])]
            except ValueError:
                # Computed alone, each gets its own error.
                return [_one(policy, asked, on_error) for asked in batch]
            except Exception as error:  # noqa: BLE001 - reported, and each is tried alone
                on_error(error)
    return [_one(policy, asked, on_error) for asked in batch]


def _one(
    policy: PolicyProtocol, asked: Asked, on_error: Callable[[Exception], None]
) -> tuple[ActionChunk, ...] | dict[str, Any] | Reason:
    try:
        return _answer(policy, asked)
    except ValueError as error:
        return Reason("refused", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a model raises; the client receives no more than that
        on_error(error)
        return Reason("failed", "the model raised; the server's log has what")


def _answer(
    policy: PolicyProtocol, asked: Asked
) -> tuple[ActionChunk, ...] | dict[str, Any] | Reason:
    why = policy.understands(asked.instruction)
    if why is not None and not (asked.want == "ask" and why.code == QUESTION):
        if asked.want == "understands":
            return {"reason": _plain(why)}
        return Reason("refused", why.detail)
    if asked.want == "understands":
        return {"reason": None}
    observation = required(asked.observation, "observation")
    if asked.want == "sees":
        return {"reason": _plain(policy.sees(observation))}
    if asked.want == "point":
        return {"points": dict(policy.point(observation))}
    if asked.want == "ask":
        return {"text": policy.ask(observation, asked.question)}
    if asked.want == "candidates":
        sampling = Sampling.of(asked.options, previous=None, known=None)
        return tuple(
            policy.infer_candidates(observation, replace(sampling, candidates=asked.candidates))
        )
    return (policy.infer_chunk(observation, asked.previous, asked.options),)


def _plain(why: Reason | None) -> dict[str, str] | None:
    return None if why is None else {"code": why.code, "detail": why.detail}
