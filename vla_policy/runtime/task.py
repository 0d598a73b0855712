"""One instruction being followed: its reports, and when and how it ends.

Pure. Two clocks are used: now_ns of the node's clock, for the time limit and the stamps of chunks,
and steady_ns of a clock that never stops, to detect silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from vla_policy.runtime.control_mode import AUTONOMOUS
from vla_policy.runtime.instruction import Stop, refuse_instruction
from vla_policy.timing import ns_from_s, s_from_ns
from vla_policy.types import ActionChunk, Level

TERMINATE_CHUNKS = 2  # chunks in a row; a single one may be an error of the policy

# Codes of a hold because an input stopped coming, not because a limit acted.
SILENCE = ("stale_", "clock_", "no_chunk", "no_position", "inactive")
WAITING = "no_chunk"
POLICY_SILENT = (WAITING, "stale_chunk")  # of those, a hold for want of the policy alone


class Outcome(IntEnum):
    """How a run ended; the numbers of ExecuteInstruction.Result."""

    DONE = 0
    TIMEOUT = 1
    CANCELED = 2
    REFUSED = 3
    PREEMPTED = 4
    STALE = 5
    STOPPED = 6


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long silence is tolerated, in s. first_chunk: the policy may have to warm up.

    hold: a hold for want of the policy's chunks may last for chunk_gap if that is longer.
    """

    first_chunk_s: float = 10.0
    chunk_gap_s: float = 3.0
    hold_s: float = 3.0
    status_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Status:
    """The last report of the control path."""

    engaged: bool
    level: Level
    reason: str
    detail: str
    queued_rows: int
    heard_ns: int
    mode: str = AUTONOMOUS


@dataclass(frozen=True, slots=True)
class TaskRun:
    """started_ns: node clock, 0: no time yet. *_steady_ns: steady clock. held: start of an uninterrupted hold."""

    instruction: str
    started_ns: int
    timeout_ns: int
    heard_steady_ns: int
    status: Status
    held_steady_ns: int | None = None
    chunks: int = 0
    terminates: int = 0
    plan: str = ""
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """outcome, and one sentence for the user."""

    outcome: Outcome
    message: str


def stopped_by(text: str, stop: Stop) -> Ended:
    """How text, a stop word, ends a run, or a goal that is itself a stop word."""
    said = f"somebody said {text[:60]!r}"
    if stop is Stop.LATCH:
        return Ended(Outcome.STOPPED, f"{said}: stopped until reset")
    return Ended(Outcome.STOPPED, f"{said}: what was being done has ended, the robot holds")


def refuse_start(
    instruction: str, status: Status | None, bounds: Timeouts, steady_ns: int
) -> str | None:
    """Why an instruction cannot be started now, one sentence; None if it can."""
    problem = refuse_instruction(instruction)
    if problem is not None:
        return problem
    if status is None:
        return "the control node has not been heard; is it running?"
    if _older(status.heard_ns, bounds.status_s, steady_ns):
        return "the control node is not heard any more"
    if status.level is Level.STOP:
        return f"the robot is stopped: {status.detail}; reset it first"
    if status.reason.startswith(SILENCE) and status.reason != WAITING:
        return f"the robot is not ready: {status.detail}"
    if not status.engaged:
        return "no operator has engaged the robot; engage it first"
    return None


def with_chunk(run: TaskRun, chunk: ActionChunk, now_ns: int, steady_ns: int) -> TaskRun:
    """The run after a chunk; chunks of another instruction or an older image do not count."""
    if chunk.instruction != run.instruction or chunk.obs_ns < run.started_ns:
        return run
    return replace(
        run,
        heard_steady_ns=steady_ns,
        chunks=run.chunks + 1,
        terminates=run.terminates + 1 if chunk.terminate and _followed(run.status) else 0,
        plan=chunk.plan,
        latency_s=s_from_ns(now_ns - chunk.obs_ns),
    )


def with_clock(run: TaskRun, now_ns: int) -> TaskRun:
    """The run with its start on the node's clock.

    A simulation's clock is 0 until its first message, which may arrive after the instruction; the
    time limit counts from that message.
    """
    return run if run.started_ns else replace(run, started_ns=now_ns)


def with_status(run: TaskRun, status: Status) -> TaskRun:
    """The run after a status of the control path.

    While a person is in control or has paused, neither the policy's silence nor its report that
    the instruction is complete counts.
    """
    if not _followed(status):
        return replace(
            run, status=status, held_steady_ns=None, heard_steady_ns=status.heard_ns, terminates=0
        )
    held = status.level >= Level.HOLD and not (status.reason == WAITING and run.chunks == 0)
    since = run.held_steady_ns if run.held_steady_ns is not None else status.heard_ns
    return replace(run, status=status, held_steady_ns=since if held else None)


def ending(run: TaskRun, bounds: Timeouts, now_ns: int, steady_ns: int) -> Ended | None:
    """How the run ends now, or None if it continues."""
    if (ended := unfit(run.status)) is not None:
        return ended
    if run.terminates >= TERMINATE_CHUNKS:
        return Ended(
            Outcome.DONE, "the policy reports the instruction complete; nothing has verified it"
        )
    if now_ns < run.started_ns:
        return Ended(Outcome.STALE, "the clock went back")
    if now_ns - run.started_ns >= run.timeout_ns:
        seconds = s_from_ns(run.timeout_ns)
        return Ended(Outcome.TIMEOUT, f"not done within {seconds:g} s")
    return _silence(run, bounds, steady_ns)


def unfit(status: Status) -> Ended | None:
    """How every instruction ends because the robot was stopped or disengaged; None if it was not."""
    if status.level is Level.STOP:
        return Ended(Outcome.STOPPED, f"the robot was stopped: {status.detail}")
    if not status.engaged and status.reason not in ("inactive",):
        why = "" if status.reason in ("", "disengaged") else f": {status.detail}"
        return Ended(Outcome.STOPPED, f"the robot was disengaged{why}")
    return None


def silence_of(status: Status, bounds: Timeouts, steady_ns: int) -> Ended | None:
    """How every instruction ends because the control node fell silent."""
    if _older(status.heard_ns, bounds.status_s, steady_ns):
        return Ended(Outcome.STALE, "the control node is not heard any more")
    return None


def _silence(run: TaskRun, bounds: Timeouts, steady_ns: int) -> Ended | None:
    status = run.status
    if (silent := silence_of(status, bounds, steady_ns)) is not None:
        return silent
    hold_s = bounds.hold_s
    if status.reason in POLICY_SILENT:
        hold_s = max(hold_s, bounds.chunk_gap_s)
    if run.held_steady_ns is not None and _older(run.held_steady_ns, hold_s, steady_ns):
        outcome = Outcome.STALE if status.reason.startswith(SILENCE) else Outcome.STOPPED
        return Ended(outcome, f"the robot holds for {hold_s:g} s: {status.detail}")
    bound_s = bounds.chunk_gap_s if run.chunks else bounds.first_chunk_s
    if _older(run.heard_steady_ns, bound_s, steady_ns):
        why = f": {status.detail}" if status.reason.startswith("stale_") else ""
        return Ended(Outcome.STALE, f"the policy sent nothing for {bound_s:g} s{why}")
    return None


def _followed(status: Status) -> bool:
    """Whether the robot follows the policy's chunks."""
    return status.mode == AUTONOMOUS


def _older(since_ns: int, bound_s: float, steady_ns: int) -> bool:
    return steady_ns - since_ns > ns_from_s(bound_s)
