"""A robot's history from bags: instructions, control modes, refusals and holds, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from vla_policy.data.bag.reader import Bag
from vla_policy.data.streams import (
    CONTROL_COMMAND,
    CONTROL_STATUS,
    OUTCOME,
    STRING,
    CommandReport,
    StatusReport,
)
from vla_policy.runtime.task import Outcome
from vla_policy.types import Level

WORDS = {"instruction": "said", "active_instruction": "follows"}


@dataclass(frozen=True, slots=True)
class Event:
    """received_ns: node clock.

    kind: said, follows, ended, engaged, mode, level or guard. robot: its namespace, or ''.
    """

    received_ns: int
    kind: str
    text: str
    robot: str = ""


def events(bags: Sequence[Bag]) -> Iterator[Event]:
    """The changes in consecutive bags; a lasting state is reported once.

    Raises ValueError for a message that contradicts its type, and for a file that is damaged in
    the middle.
    """
    told: dict[tuple[str, str], object] = {}
    for bag in bags:
        decoder = bag.decoder()
        topics = [topic for topic, kind in bag.types.items() if _is_told(topic, kind)]
        for message in bag.messages(topics, decoder):
            robot, _, name = message.topic.rpartition("/")
            if message.type == CONTROL_STATUS:
                found = list(_of_status(decoder.control_status(message)))
            elif message.type == CONTROL_COMMAND:
                found = list(_of_command(decoder.control_command(message)))
            elif message.type == OUTCOME:
                words, outcome, sentence = decoder.outcome(message)
                found = [
                    ("ended", f"{words!r} {_name(Outcome, outcome)}: {sentence}", message.data)
                ]
            else:
                found = [(WORDS[name], repr(words) if (words := decoder.text(message)) else "nothing", message.data)]  # fmt: skip
                if name == "instruction":
                    told.pop((robot, "said"), None)  # the same instruction again is a new event
            for kind, text, state in found:
                if told.get((robot, kind)) != state:
                    told[robot, kind] = state
                    if text:
                        yield Event(message.received_ns, kind, text, robot)


def _is_told(topic: str, kind: str) -> bool:
    return kind in (CONTROL_STATUS, CONTROL_COMMAND, OUTCOME) or (
        kind == STRING and topic.rpartition("/")[2] in WORDS
    )


def _of_status(status: StatusReport) -> Iterator[tuple[str, str, object]]:
    """(kind, sentence, state): a change of the state is an event."""
    yield "engaged", "yes" if status.engaged else "no", status.engaged
    if status.mode:
        yield "mode", status.mode, status.mode
    said = f"{status.reason}: {status.detail}" if status.detail else status.reason
    yield "level", f"{_name(Level, status.level)} {said}".strip(), (status.level, status.reason)


def _of_command(command: CommandReport) -> Iterator[tuple[str, str, object]]:
    """The guard's decision in a tick; the state's level follows with the status."""
    said = f"{_name(Level, command.level)} {', '.join(command.reasons)}" if command.level else ""
    yield "guard", said, (command.level, command.reasons)


def _name(kind: type[IntEnum], number: int) -> str:
    """In lower case; the number itself if a newer version recorded it."""
    return kind(number).name.lower() if number in {int(known) for known in kind} else str(number)
