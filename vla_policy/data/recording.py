"""A recording session as pure state: idle, a take, the decision on it, idle again.

No files, no clock, no ROS. Functions take the state and return the next one, or the same one and a
sentence why not. Nothing begins while an input is missing, nothing ends without a verdict, and no
take is both kept and discarded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from vla_policy.data.stream_meter import StreamReport
from vla_policy.data.take_verdict import TakeVerdict
from vla_policy.timing import NS_PER_S, s_from_ns
from vla_policy.types import Reason

SILENT_S = 2.0  # without messages, after which a required stream ends the take
JUMP_NS = NS_PER_S // 2  # between the clock and the elapsed time
FASTEST = 25  # largest rate of a simulation's clock relative to the wall clock
GB = 1e9


class Phase(IntEnum):
    """As in RecorderStatus."""

    IDLE = 0
    RECORDING = 1
    DECIDING = 2


@dataclass(frozen=True, slots=True)
class Take:
    """One open demonstration. limit_ns: longest duration. verdict: None during recording."""

    number: int
    task: str
    begin_ns: int
    limit_ns: int
    end_ns: int | None = None
    verdict: TakeVerdict | None = None

    def seconds(self, now_ns: int) -> float:
        """Its duration so far, or in total."""
        return s_from_ns((now_ns if self.end_ns is None else self.end_ns) - self.begin_ns)


@dataclass(frozen=True, slots=True)
class Saved:
    """One episode of the data set."""

    episode: int
    task: str
    seconds: float
    success: bool | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """takes: number begun. saved: episodes of the folder, including those of earlier sessions."""

    take: Take | None = None
    takes: int = 0
    discarded: int = 0
    saved: tuple[Saved, ...] = ()

    @property
    def phase(self) -> Phase:
        if self.take is None:
            return Phase.IDLE
        return Phase.RECORDING if self.take.verdict is None else Phase.DECIDING

    def lengths_s(self, task: str) -> tuple[float, ...]:
        """Durations of the saved takes of a task."""
        return tuple(saved.seconds for saved in self.saved if saved.task == task)


def begin(
    recording: Recording, task: str, missing: Iterable[str], now_ns: int, limit_ns: int
) -> tuple[Recording, str | None]:
    """Begin a take, if none is open and nothing is missing."""
    if recording.phase is Phase.RECORDING:
        return recording, "a take is being recorded already"
    if recording.phase is Phase.DECIDING:
        return recording, "the last take waits for a decision: keep it or discard it first"
    lacking = tuple(missing)
    if lacking:
        return recording, "; ".join(lacking)
    if not limit_ns > 0:
        return recording, f"the longest duration: got {s_from_ns(limit_ns):g} s, expected > 0"
    take = Take(recording.takes, task, now_ns, limit_ns)
    return replace(recording, take=take, takes=recording.takes + 1), None


def end(recording: Recording, verdict: TakeVerdict, now_ns: int) -> tuple[Recording, str | None]:
    """End the take; the decision to keep it is still open."""
    if recording.take is None or recording.phase is not Phase.RECORDING:
        return recording, "no take is being recorded"
    take = replace(recording.take, verdict=verdict, end_ns=max(now_ns, recording.take.begin_ns))
    return replace(recording, take=take), None


def save(recording: Recording, episode: int, success: bool | None) -> tuple[Recording, str | None]:
    """Keep the ended take as an episode."""
    take = recording.take
    if take is None or take.verdict is None or take.end_ns is None:
        return recording, "no take has ended that could be kept"
    saved = Saved(episode, take.task, s_from_ns(take.end_ns - take.begin_ns), success)
    return replace(recording, take=None, saved=(*recording.saved, saved)), None


def discard(recording: Recording) -> tuple[Recording, str | None]:
    """Discard the take, whether it has ended or not."""
    if recording.take is None:
        return recording, "there is no take to discard"
    return replace(recording, take=None, discarded=recording.discarded + 1), None


def delete_last(recording: Recording) -> tuple[Recording, str | None]:
    """Remove the newest episode from the data set."""
    if recording.take is not None:
        return recording, "a take is open: keep it or discard it first"
    if not recording.saved:
        return recording, "there is no episode to delete"
    return replace(recording, saved=recording.saved[:-1]), None


def ended_by(recording: Recording, reports: Iterable[StreamReport], now_ns: int) -> Reason | None:
    """Why the current take ends by itself now: its time limit, or a silent stream; else None."""
    take = recording.take
    if take is None or recording.phase is not Phase.RECORDING:
        return None
    for report in reports:
        silent_s = take.seconds(now_ns) if report.age_s is None else report.age_s
        if report.need.required and silent_s > SILENT_S:
            return Reason(
                "silent",
                f"{report.need.topic} has been silent for {silent_s:.1f} s: the take ended",
            )
    if now_ns - take.begin_ns >= take.limit_ns:
        return Reason(
            "time_limit", f"the longest duration, {s_from_ns(take.limit_ns):g} s, is over"
        )
    return None


def missing(
    reports: Iterable[StreamReport],
    *,
    task: str,
    free_bytes: float,
    least_bytes: float,
    problems: Iterable[str] = (),
) -> tuple[str, ...]:
    """Why no take can begin now, one sentence each; empty if it can.

    problems: of the robot and the folder, as sentences.
    """
    found = []
    for report in reports:
        need = report.need
        if not need.required:
            continue
        limit_s = need.max_age_s or SILENT_S
        if report.age_s is None:
            found.append(f"{need.topic}: nothing was received")
        elif report.age_s > max(limit_s, 0.0):
            found.append(f"{need.topic}: nothing new for {report.age_s:.1f} s")
        elif report.lag_s is not None and report.lag_s > limit_s:
            found.append(
                f"{need.topic}: arrives {report.lag_s:.2f} s late, {limit_s:g} s is allowed"
            )
    if not task.strip():
        found.append("no task: say in words what is demonstrated")
    if free_bytes < least_bytes:
        found.append(
            f"the disk has {free_bytes / GB:.1f} GB left, at least {least_bytes / GB:.1f} GB are asked for"
        )
    return (*found, *problems)


def clock_jump(before: tuple[int, int], now: tuple[int, int], *, simulated: bool) -> Reason | None:
    """Whether the node's clock jumped between two readings, each (clock ns, steady ns).

    A simulated clock may stand, be slow or fast, but not go back or jump.
    """
    clock_ns, steady_ns = now[0] - before[0], now[1] - before[1]
    if clock_ns < 0:
        return Reason(
            "clock_jump", f"the clock went back by {-s_from_ns(clock_ns):.3f} s: the take ended"
        )
    most_ns = FASTEST * steady_ns if simulated else steady_ns
    least_ns = 0 if simulated else steady_ns
    if clock_ns > most_ns + JUMP_NS or clock_ns < least_ns - JUMP_NS:
        return Reason(
            "clock_jump",
            f"the clock went on by {s_from_ns(clock_ns):.3f} s in {s_from_ns(steady_ns):.3f} s: the take ended",
        )
    return None


def disk_left_s(
    free_bytes: float, least_bytes: float, written_bytes: float, seconds: float
) -> float | None:
    """Seconds of recording that fit on the disk at the rate so far; None while unknown."""
    if seconds < 1.0 or written_bytes <= 0:
        return None
    return max(0.0, free_bytes - least_bytes) * seconds / written_bytes


def free_bytes(folder: Path) -> float:
    """Free bytes on the disk of folder, or of its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)
