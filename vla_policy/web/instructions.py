"""The instructions given through the page and their progress; identified by id, not by text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

KEPT = 6
NO_REASON = "the task node did not take the instruction and has given no reason; see its log"


@dataclass(frozen=True, slots=True)
class Said:
    """One instruction.

    said_ns: when it was given, node clock.
    message: its current progress, and in the end its result.
    outcome: one word once it has ended; empty before.
    verdict: whether a simulation saw the task reached; None without a verdict.
    reason:  why an instruction of this text was refused since it was given; empty if none was.
    """

    id: str
    words: str
    said_ns: int
    message: str = "sent; no word of the task node yet"
    outcome: str = ""
    verdict: bool | None = None
    reason: str = ""


Log = tuple[Said, ...]  # oldest first


def given(log: Log, id: str, words: str, now_ns: int) -> Log:
    """The log with one more instruction."""
    return (*log, Said(id, words, now_ns))[-KEPT:]


def progressed(log: Log, id: str, message: str) -> Log:
    """Set the progress of the instruction of this id; one that has ended does not change."""
    return _changed(log, id, message=message)


def ended(log: Log, id: str, outcome: str, message: str) -> Log:
    """Set the outcome of the instruction of this id; only the first outcome counts."""
    return _changed(log, id, outcome=outcome, message=message)


def rejected(log: Log, id: str) -> Log:
    """The goal of this id was rejected; the reason is reported separately, before or after."""
    reason = next((entry.reason for entry in log if entry.id == id), "")
    return ended(log, id, "refused", reason or NO_REASON)


def explained(log: Log, words: str, reason: str) -> Log:
    """Why instructions of this text were refused; it applies to those rejected before or after."""
    return tuple(_explained(entry, reason) if entry.words == words else entry for entry in log)


def judged(log: Log, words: str, reached: bool, stamp_ns: int) -> Log:
    """A simulation's verdict at stamp_ns on the task of this text.

    It applies only to the newest instruction, if that has this text and was given before; reached
    stays reached. After the end nothing else changes: the robot may put away what it has placed.
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
