"""The instructions that were given through the page, and how each went; told apart by id, not by words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

KEPT = 6
NO_REASON = "the task node did not take the instruction and has given no reason; see its log"


@dataclass(frozen=True, slots=True)
class Said:
    """One instruction.

    said_ns: when it was given, node clock.
    message: what is being done, and in the end how it ended.
    outcome: one word once it has ended; empty before.
    verdict: whether a simulation saw it reached; None if no one judged it.
    reason:  why an instruction with these words was refused since it was given; empty if none was.
    """

    id: str
    words: str
    said_ns: int
    message: str = "sent; no word of the task node yet"
    outcome: str = ""
    verdict: bool | None = None
    reason: str = ""


Log = tuple[Said, ...]  # the oldest first


def given(log: Log, id: str, words: str, now_ns: int) -> Log:
    """The log with another instruction."""
    return (*log, Said(id, words, now_ns))[-KEPT:]


def progressed(log: Log, id: str, message: str) -> Log:
    """What the instruction of this id does now; one that has ended stays as it ended."""
    return _changed(log, id, message=message)


def ended(log: Log, id: str, outcome: str, message: str) -> Log:
    """How the instruction of this id ended; the first word on it is the last."""
    return _changed(log, id, outcome=outcome, message=message)


def rejected(log: Log, id: str) -> Log:
    """The goal of this id was not accepted; why is told apart from that, sooner or later."""
    reason = next((entry.reason for entry in log if entry.id == id), "")
    return ended(log, id, "refused", reason or NO_REASON)


def explained(log: Log, words: str, reason: str) -> Log:
    """Why instructions with these words were refused; it counts for those that are or will be rejected."""
    return tuple(_explained(entry, reason) if entry.words == words else entry for entry in log)


def judged(log: Log, words: str, reached: bool, stamp_ns: int) -> Log:
    """What a simulation saw at stamp_ns of the task that it words so.

    It counts for the newest instruction alone, if that has these words and was given before; once reached
    stays reached. After the end nothing but that changes: the robot may put away what it has placed.
    """
    if not log or log[-1].words != words or stamp_ns < log[-1].said_ns:
        return log
    last = log[-1]
    if last.verdict or (last.outcome and not reached):
        return log
    return (*log[:-1], replace(last, verdict=reached))


def told(log: Log) -> list[dict[str, Any]]:
    """As JSON values for the page."""
    return [asdict(entry) for entry in log]


def _explained(entry: Said, reason: str) -> Said:
    if not entry.outcome:
        return replace(entry, reason=reason)
    return replace(entry, message=reason) if entry.message == NO_REASON else entry


def _changed(log: Log, id: str, **changes: Any) -> Log:
    return tuple(
        replace(entry, **changes) if entry.id == id and not entry.outcome else entry
        for entry in log
    )
