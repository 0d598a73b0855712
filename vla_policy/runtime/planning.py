"""What a planner of long tasks is asked, and what it may answer. Pure; the planners are in planners/."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from vla_policy.runtime.instruction import MAX_CHARACTERS, refuse_instruction
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Observation

MAX_SENTENCE = MAX_CHARACTERS  # characters of a sentence to a person
MAX_SEEN = 40  # lines about the table
NONE, MODEL = "none", "model"
PLANNERS = "none, model, the folder of a transformers model, or http(s)://HOST:PORT/v1"


class Answered(IntEnum):
    """The kind of an answer; the numbers of PlanSubtask.Response."""

    NEXT = 0
    FINISHED = 1
    CANNOT = 2
    DIRECT = 3
    NOT_READY = 4
    FAILED = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sub-task that was begun. outcome: the name of a task.Outcome. message: its sentence."""

    subtask: str
    outcome: str
    message: str


def attempt_of(subtask: str, how: str) -> Attempt:
    """The inverse of told."""
    outcome, _, message = how.partition(": ")
    return Attempt(subtask, outcome, message)


def told(attempt: Attempt) -> str:
    """How an attempt ended, as one text."""
    return f"{attempt.outcome}: {attempt.message}"


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """instruction: the long one. done: what was begun so far. given_up: what is not tried again.

    seen: what was on the table when it was first seen, as table.line gives it.
    """

    instruction: str
    done: tuple[Attempt, ...] = ()
    given_up: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """text: a sub-task or a sentence, see Answered. seen: what is on the table now, if known."""

    kind: Answered
    text: str = ""
    seen: tuple[str, ...] = ()


# Raises Unavailable if there is no answer now, ValueError if the answer cannot be used.
Planner = Callable[[PlanRequest, PolicyProtocol, Observation], PlanAnswer]
_KEYS = {"next": Answered.NEXT, "finished": Answered.FINISHED, "cannot": Answered.CANNOT}


def read_answer(text: str) -> PlanAnswer:
    """The answer of a language model: one JSON object with one of the keys next, finished, cannot.

    Raises ValueError, in words that tell a person what came instead.
    """
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        answer = json.loads(bare)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the planner did not answer in JSON but {sentence(text)!r}") from error
    keys = list(answer) if isinstance(answer, dict) else []
    if len(keys) != 1 or keys[0] not in _KEYS or not isinstance(answer[keys[0]], str):
        raise ValueError(
            f"the planner answered {sentence(bare)!r}, expected one of {', '.join(_KEYS)} with a text"
        )
    kind = _KEYS[keys[0]]
    if kind is not Answered.NEXT:
        return PlanAnswer(kind, sentence(answer[keys[0]]) or "no reason given")
    said = answer[keys[0]].strip()
    if (problem := refuse_instruction(said)) is not None:
        raise ValueError(f"the planner's sub-task cannot be followed: {problem}")
    return PlanAnswer(kind, said)


def sentence(text: str) -> str:
    """text as one line of printable characters, at most MAX_SENTENCE."""
    kept = "".join(
        " " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * MAX_SENTENCE]
    )
    line = " ".join(kept.split())
    return line if len(line) <= MAX_SENTENCE else f"{line[: MAX_SENTENCE - 1]}…"
