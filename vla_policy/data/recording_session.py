"""A recording session without ROS: messages in; takes begun, ended, saved, discarded; status.

Its methods are called from one thread. Slow work is done by the thread of the files and awaited,
so that the caller can continue meanwhile; one such step runs at a time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_policy.data import recording as core
from vla_policy.data.bag.qos import Qos
from vla_policy.data.recording import Phase, Recording
from vla_policy.data.recording_files import RecordingFiles, Written
from vla_policy.data.recording_thread import RecordingThread
from vla_policy.data.scene import DrawnScene
from vla_policy.data.stream_meter import StreamMeter, StreamNeed, StreamReport
from vla_policy.data.streams import Message
from vla_policy.data.take_verdict import USUAL, Bounds, TakeFacts, TakeVerdict, judge
from vla_policy.data.transforms import TF_STATIC
from vla_policy.timing import NS_PER_S
from vla_policy.types import Reason

FREE_NS = NS_PER_S  # between two checks of the disk
Wait = Callable[["Future[Any]"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Moment:
    """Current status. take_s: length of the open take. episode: its number, or the next one."""

    phase: Phase
    task: str
    episode: int
    missing: tuple[str, ...]
    take_s: float
    written: Written
    lost: int
    waiting: int
    streams: tuple[StreamReport, ...]
    disk_free: float
    disk_left_s: float | None
    verdict: TakeVerdict | None
    message: str


class RecordingSession:
    """needs: the recorded streams. least_bytes: to be left free on the disk.

    latched: topics whose last message counts at the begin of a take, however old; of /tf_static
    all.
    wait: makes the answer of the files' thread awaitable.
    simulated: the clock is that of a simulation.
    """

    def __init__(
        self,
        thread: RecordingThread,
        folder: Path,
        needs: Iterable[StreamNeed],
        *,
        wait: Wait,
        episodes: int,
        least_bytes: float,
        latched: Iterable[str] = (),
        simulated: bool = False,
        bounds: Bounds = USUAL,
    ) -> None:
        self._thread, self._folder, self._wait = thread, folder, wait
        self._meters = {need.topic: StreamMeter(need) for need in needs}
        self._latched: dict[str, dict[bytes, tuple[Message, Sequence[Qos]]]] = {
            topic: {} for topic in latched
        }
        self._least, self._simulated, self._bounds = least_bytes, simulated, bounds
        self._recording, self._episodes = Recording(), episodes
        self._taking = False  # messages belong to the open take
        self._busy = ""  # the current work on the files
        self._lost_before = 0
        self._clock: tuple[int, int] | None = None
        self._free = core.free_bytes(folder)
        self._free_at: int | None = None
        self.message = ""
        self.saving = ""  # duration of saving the newest episode, a sentence
        self.scene: DrawnScene | None = None  # of the simulation, for the next take
        self.last_verdict: TakeVerdict | None = None  # of the newest take that ended

    @property
    def phase(self) -> Phase:
        return self._recording.phase

    @property
    def ending(self) -> bool:
        """Whether a take is being ended, saved or discarded now."""
        return bool(self._busy)

    @property
    def verdict(self) -> TakeVerdict | None:
        """Verdict of the take that waits for a decision."""
        return None if self._recording.take is None else self._recording.take.verdict

    @property
    def needs(self) -> tuple[StreamNeed, ...]:
        return tuple(meter.need for meter in self._meters.values())

    def add(self, message: Message, qos: Sequence[Qos] = ()) -> None:
        """Add a received message. Never waits."""
        meter = self._meters.get(message.topic)
        if meter is not None:
            meter.add(message.stamp_ns, message.received_ns)
        if message.topic in self._latched:
            # Several publishers share /tf_static, and the messages of all of them stay valid.
            key = message.data if message.topic == TF_STATIC else b""
            self._latched[message.topic][key] = message, qos
        if self._taking:
            self._thread.put(message, qos)

    def drop(self, topic: str, count: int) -> None:
        """Note messages of a topic lost by the transport."""
        meter = self._meters.get(topic)
        if meter is not None:
            meter.drop(count)

    def missing(self, task: str, now_ns: int, problems: Iterable[str] = ()) -> tuple[str, ...]:
        """Why no take can begin now; problems: of the robot, as sentences."""
        return core.missing(
            self._reports(now_ns),
            task=task,
            free_bytes=self._free,
            least_bytes=self._least,
            problems=problems,
        )

    async def begin(
        self, task: str, now_ns: int, limit_ns: int, problems: Iterable[str] = ()
    ) -> str | None:
        """Begin a take; or return a sentence why not."""
        if self._busy:
            return self._busy
        lacking = self.missing(task, now_ns, problems)
        begun, refusal = core.begin(self._recording, task.strip(), lacking, now_ns, limit_ns)
        if refusal is not None:
            return refusal
        self._busy = "a take is being opened"
        scene = self.scene
        answer = self._thread.ask(lambda files: files.begin(task.strip(), scene))
        for held in self._latched.values():  # earlier messages that are still valid
            for said, offered in held.values():
                self._thread.put(replace(said, received_ns=now_ns), offered)
        self._recording, self._taking, self.last_verdict = begun, True, None
        self._lost_before = self._thread.lost
        for meter in self._meters.values():
            meter.begin(now_ns)
        try:
            await self._wait(answer)
        except (OSError, ValueError) as error:
            self._taking = False
            self._recording, _ = core.discard(self._recording)
            self.message = f"no take was begun: {error}"
            return self.message
        finally:
            self._busy = ""
        self.message = f"episode {self._episodes}: recording {task.strip()!r}"
        return None

    async def end(self, now_ns: int, reason: Reason | None = None) -> str | None:
        """End the take and judge it; or a sentence why not. reason: why it ended by itself."""
        if self._busy or self.phase is not Phase.RECORDING:
            return self._busy or "no take is being recorded"
        self._busy, self._taking = "the take is being ended", False
        streams = self._reports(now_ns)  # before any later message
        try:
            written = await self._wait(self._thread.ask(_ended))
        finally:
            self._busy = ""
        verdict = judge(self._facts(written, streams, now_ns, reason), self._bounds)
        self._recording, _ = core.end(self._recording, verdict, now_ns)
        self.last_verdict = verdict
        advice = "keep it" if verdict.keep else "discard it"
        self.message = "; ".join([advice, *verdict.sentences])
        return None

    async def save(self, success: bool | None, now_ns: int) -> tuple[bool, str]:
        """(whether the take was saved, a sentence).

        A running take ends first; with faults it then waits.
        """
        if self.phase is Phase.RECORDING:
            refusal = await self.end(now_ns)
            if refusal is not None:
                return False, refusal
            verdict = self.last_verdict
            if verdict is not None and not verdict.keep:
                faults = "; ".join(fault.detail for fault in verdict.faults)
                return False, f"not kept yet: {faults}; save it again to keep it all the same"
        if self._busy or self.phase is not Phase.DECIDING:
            return False, self._busy or "there is no take to keep"
        self._busy = "an episode is being saved"
        asked_s = time.perf_counter()
        try:
            kept = await self._wait(self._thread.ask(lambda files: files.save(success)))
        except (OSError, ValueError) as error:
            self.message = f"not saved: {error}"
            return False, self.message
        finally:
            self._busy = ""
        self._recording, _ = core.save(self._recording, kept.info.index, success)
        self._episodes = kept.info.index + 1
        note = f"; {kept.note}" if kept.note else ""
        self.message = f"episode {kept.info.index} is saved, {kept.info.length} frames{note}"
        beyond_s = time.perf_counter() - asked_s - kept.encoding_s
        self.saving = (
            f"saving it took {1e3 * beyond_s:.0f} ms beyond its videos: data set "
            f"{1e3 * kept.set_s:.0f} ms, bag {1e3 * kept.bag_s:.0f} ms, "
            f"{1e3 * (beyond_s - kept.set_s - kept.bag_s):.0f} ms until its turn; it waited {kept.encoding_s:.3f} s for them"
        )
        return True, self.message

    async def discard(self) -> tuple[bool, str]:
        """(whether a take was discarded, a sentence with its bag's folder)."""
        if self._busy or self.phase is Phase.IDLE:
            return False, self._busy or "there is no take to discard"
        self._busy, self._taking = "the take is being discarded", False
        try:
            bag = await self._wait(self._thread.ask(lambda files: files.discard()))
        except (OSError, ValueError) as error:
            self.message = f"not discarded: {error}"
            return False, self.message
        finally:
            self._busy = ""
        self._recording, _ = core.discard(self._recording)
        self.message = f"discarded; its bag is {bag}" if bag else "discarded"
        return True, self.message

    async def delete_last(self) -> tuple[bool, str]:
        """(whether the newest episode was removed from the set, a sentence)."""
        if self._busy or self.phase is not Phase.IDLE:
            return False, self._busy or "a take is open: keep it or discard it first"
        self._busy = "an episode is being deleted"
        try:
            index = await self._wait(self._thread.ask(lambda files: files.delete_last()))
        except (OSError, ValueError) as error:
            return False, str(error)
        finally:
            self._busy = ""
        if self._recording.saved:
            self._recording, _ = core.delete_last(self._recording)
        self._episodes = index
        self.message = f"episode {index} is taken out of the set; its bag is in discarded/"
        return True, self.message

    def watch(self, now_ns: int, steady_ns: int) -> Reason | None:
        """Check clock, disk, streams and files; why the take must end now, or None."""
        before, self._clock = self._clock, (now_ns, steady_ns)
        jump = None
        if before is not None:
            jump = core.clock_jump(before, self._clock, simulated=self._simulated)
        if jump is not None and self.phase is not Phase.RECORDING:
            self.clear()
        if self._free_at is None or not 0 <= steady_ns - self._free_at < FREE_NS:
            self._free, self._free_at = core.free_bytes(self._folder), steady_ns
        if self.phase is not Phase.RECORDING or self._busy:
            return None
        if jump is not None:
            return jump
        if self._thread.written.problem:
            return Reason("files", self._thread.written.problem)
        if self._free < self._least / 2:
            return Reason(
                "disk", f"the disk has only {self._free / core.GB:.1f} GB left: the take ended"
            )
        return core.ended_by(self._recording, self._reports(now_ns), now_ns)

    def clear(self) -> None:
        """The clock jumped: earlier times cannot be compared with the present."""
        for meter in self._meters.values():
            meter.clear()

    def moment(self, task: str, now_ns: int, problems: Iterable[str] = ()) -> Moment:
        """Current status. task: of the next take."""
        take, written = self._recording.take, self._thread.written
        seconds = 0.0 if take is None else take.seconds(now_ns)
        idle = self.phase is Phase.IDLE
        return Moment(
            phase=self.phase,
            task=task if take is None else take.task,
            episode=self._episodes,
            missing=self.missing(task, now_ns, problems) if idle else (),
            take_s=seconds,
            written=Written() if idle else written,
            lost=0 if idle else self._thread.lost - self._lost_before,
            waiting=self._thread.waiting,
            streams=self._reports(now_ns),
            disk_free=self._free,
            disk_left_s=core.disk_left_s(self._free, self._least, written.written, seconds),
            verdict=self.verdict,
            message=self._busy or self.message,
        )

    def _reports(self, now_ns: int) -> tuple[StreamReport, ...]:
        return tuple(meter.report(now_ns) for meter in self._meters.values())

    def _facts(
        self,
        written: Written,
        streams: tuple[StreamReport, ...],
        now_ns: int,
        reason: Reason | None,
    ) -> TakeFacts:
        take = self._recording.take
        assert take is not None
        jumped = reason is not None and reason.code == "clock_jump"
        guard = written.guard
        return TakeFacts(
            seconds=take.seconds(now_ns),
            frames=written.frames,
            stale_frames=written.stale,
            idle_frames=written.idle,
            lost=self._thread.lost - self._lost_before,
            streams=() if jumped else streams,  # their times are of two clocks
            stalls=written.stalls,
            moved=written.moved,
            ticks=guard.ticks,
            held=guard.held,
            slowed=guard.slowed,
            reasons=guard.reasons,
            others_s=self._recording.lengths_s(take.task),
            out_of_view=written.out_of_view,
            target_out_of_view=written.target_out_of_view,
            pointed_out_of_view=written.pointed_out_of_view,
            behind=written.behind,
            ended_by=None if reason is None or reason.code == "time_limit" else reason,
        )


def _ended(files: RecordingFiles) -> Written:
    files.end()
    return files.written()
