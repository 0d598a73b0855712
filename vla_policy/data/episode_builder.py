"""Messages of one take, in order of receipt, to frames: the same live and from a bag."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from vla_policy.data.alignment import (
    SAME_CLOCK_NS,
    SILENCE_NS,
    WAIT_NS,
    StampedValue,
    Track,
    clock_offset_ns,
    frame_ns,
)
from vla_policy.data.commands_sent import CommandsSent
from vla_policy.data.frame import CONTROL_SOURCES, Frame
from vla_policy.data.robot_streams import (
    CommandReader,
    StateReader,
    max_ages_ns,
    topics_of,
)
from vla_policy.data.streams import CommandReport, Decoder, Message, pixels
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import layout_of, measured_action
from vla_policy.timing import FUTURE_TOLERANCE_NS, s_from_ns
from vla_policy.types import Array


class EpisodeBuilder:
    """Frames of one take at fps by the rule of data/alignment.py.

    The frames depend only on the messages and their order, not on when add is called.
    namespace: of the robot's relative topics. from_outputs: commands are read from the
    controllers' topics, for a recording without control_command.
    Raises ValueError for a robot whose frames cannot be made from messages, in one sentence.
    """

    def __init__(
        self,
        robot: Embodiment,
        fps: int,
        *,
        namespace: str = "/",
        decoder: Decoder | None = None,
        from_outputs: bool = False,
    ) -> None:
        frame_ns(0, fps, 0)
        self.topics = topics_of(robot, namespace)
        self._fps = fps
        self._decoder = decoder or Decoder()
        self._layout = layout_of(robot)
        self._states = StateReader(robot, self.topics, self._decoder)
        self._commands = CommandReader(
            robot, self.topics, self._decoder, from_outputs=from_outputs
        )
        own = dict.fromkeys((*self.topics.needed, *self.topics.states))
        self._heard = (*own, *self._commands.topics, self.topics.instruction)
        self._max_ages_ns = max_ages_ns(robot)
        self._sent_on_change = from_outputs
        self._forget()
        self._sent = CommandsSent(self._layout)
        self._words: list[tuple[int, str]] = []
        self._shown: dict[str, tuple[int, Array]] = {}
        self._received_ns: int | None = None
        self._offset_ns = 0
        self._index = 0
        self.start_ns: int | None = None
        self.problem: str | None = None
        self._shown_ns: int | None = None
        self.refused: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.sentences: dict[str, str] = {}

    def add(self, message: Message) -> list[Frame]:
        """Add one message; returns the frames completed by it, in order.

        An invalid message counts as not received: `refused` counts those of each topic,
        `sentences` has the first one's reason. `counts`: stamps that were repeated, went
        backward, or came too late for their frame. Once `problem` is set, no more messages are
        accepted.
        """
        if self.problem is not None or message.topic not in self._heard:
            return []
        frames = self._on_time(message)
        if self.problem is not None:
            return frames
        try:
            self._keep(message)
        except ValueError as error:
            self._refuse(message.topic, str(error))
        return frames + self._close(final=False)

    def end(self) -> list[Frame]:
        """The remaining frames at the end: up to the newest instant of all live streams."""
        return [] if self.problem is not None else self._close(final=True)

    @property
    def heard(self) -> tuple[str, ...]:
        """The topics from which frames are made; messages of others change nothing."""
        return self._heard

    @property
    def missing(self) -> tuple[str, ...]:
        """Streams without a sample so far: without them there is no first frame."""
        return tuple(name for name, track in self._inputs.items() if track.newest_ns is None)

    def _on_time(self, message: Message) -> list[Frame]:
        """Check the clock of receipt; the last frames, and `problem`, if it jumped."""
        before, now = self._received_ns, message.received_ns
        if before is None or 0 <= now - before <= SILENCE_NS:
            self._received_ns = now
            return []
        if -SAME_CLOCK_NS <= now - before < 0:
            return []  # two threads that stamp their messages may swap them
        if self.start_ns is None:  # no frame so far: start again
            self._received_ns = now
            self._forget()
            return []
        frames = self._close(final=True)
        moved = f"went back by {s_from_ns(before - now):.3f} s"
        if now > before:
            moved = f"went on by {s_from_ns(now - before):.3f} s without a message"
        self.problem = f"the clock {moved} after frame {self._index - 1}: the episode ends there"
        return frames

    def _forget(self) -> None:
        """Start again: no stream has a sample."""
        self._inputs: dict[str, Track[Any]] = {
            n: Track(age) for n, age in self._max_ages_ns.items()
        }
        self._reports: dict[str, Track[CommandReport]] = {
            t: Track(0) for t in self._commands.topics
        }
        self._states.forget()

    def _keep(self, message: Message) -> None:
        """Raises ValueError for an invalid message."""
        topics, topic = self.topics, message.topic
        if topic in self._reports:
            report = self._commands.sample(message)
            self._require_known(report.value, topic)
            self._take(self._reports[topic], report, topic)
        elif topic in topics.cameras:
            name = topics.cameras[topic]
            lag_ns = message.received_ns - message.stamp_ns
            if self.start_ns is None:
                pixels(message)  # a valid image must exist to repeat if a later one is broken
            self._take(self._inputs[name], StampedValue(message.stamp_ns, message, lag_ns), topic)
        elif topic in topics.states:
            for name, sample in self._states.samples(message):
                self._take(self._inputs[name], sample, topic)
        elif topic == topics.instruction:
            self._words.append((message.received_ns, self._decoder.text(message)))

    def _require_known(self, report: CommandReport, topic: str) -> None:
        unknown = self._sent.unknown(report)
        if unknown:
            raise ValueError(
                f"{topic}: got the columns {', '.join(unknown)}, expected those of this robot: "
                f"{', '.join(self._layout.names)}"
            )
        if report.control_source not in CONTROL_SOURCES:
            raise ValueError(
                f"{topic}: got the control source {report.control_source!r}, "
                f"expected one of {CONTROL_SOURCES}"
            )

    def _take(self, track: Track[Any], sample: StampedValue[Any], topic: str) -> None:
        if self.start_ns is not None and sample.stamp_ns > self._now_ns() + FUTURE_TOLERANCE_NS:
            ahead_s = s_from_ns(sample.stamp_ns - self._now_ns())
            raise ValueError(f"{topic}: got a stamp {ahead_s:.3f} s ahead of when it came")
        newest = track.newest_ns
        if newest is not None and sample.stamp_ns < newest - SAME_CLOCK_NS:
            back_s = s_from_ns(newest - sample.stamp_ns)
            raise ValueError(f"{topic}: got a stamp {back_s:.3f} s older than the one before it")
        if not track.add(sample):
            self.counts["repeated" if sample.stamp_ns == newest else "backward"] += 1
        elif self._shown_ns is not None and sample.stamp_ns <= self._shown_ns:
            self.counts["late"] += 1

    def _refuse(self, topic: str, sentence: str) -> None:
        self.refused[topic] += 1
        self.sentences.setdefault(topic, sentence)

    def _now_ns(self) -> int:
        """The latest time of receipt, in the clock of the stamps."""
        return (self._received_ns or 0) - self._offset_ns

    def _begin(self) -> None:
        """Set start as soon as every stream has a sample."""
        if self.missing:
            for track in self._inputs.values():  # samples too old for the first frame
                if track.newest_ns is not None:
                    track.drop_before(track.newest_ns - 2 * WAIT_NS)
            return
        newest_of = [track.newest for track in self._inputs.values()]
        self._offset_ns = clock_offset_ns(s.lag_ns for s in newest_of if s is not None)
        ahead = self._now_ns() + FUTURE_TOLERANCE_NS
        for name, track in self._inputs.items():
            if track.drop_after(ahead):
                self._refuse(name, f"{name}: got stamps ahead of when they came")
        if self.missing:
            return
        oldest = [track.oldest for track in self._inputs.values()]
        self.start_ns = max(sample.stamp_ns for sample in oldest if sample is not None)

    def _close(self, *, final: bool) -> list[Frame]:
        if self.start_ns is None:
            self._begin()
        frames: list[Frame] = []
        while self.start_ns is not None:
            time_ns = frame_ns(self.start_ns, self._fps, self._index)
            next_ns = frame_ns(self.start_ns, self._fps, self._index + 1)
            if not self._complete(time_ns, next_ns, final=final):
                break
            frames.append(self._frame(time_ns, next_ns))
            self._index += 1
        return frames

    def _complete(self, time_ns: int, next_ns: int, *, final: bool) -> bool:
        """Whether no later message can belong to the frame.

        final: no more messages; a frame that a live stream has not reached is left out.
        """
        now_ns = self._now_ns()
        for tracks, until_ns in ((self._inputs, time_ns), (self._reports, next_ns)):
            for track in tracks.values():
                newest = track.newest_ns
                silent = newest is None or newest < now_ns - WAIT_NS
                silent |= tracks is self._reports and self._sent_on_change
                overdue = silent and time_ns <= now_ns if final else now_ns >= until_ns + WAIT_NS
                if not (track.reached(until_ns) or overdue):
                    return False
        return True

    def _frame(self, time_ns: int, next_ns: int) -> Frame:
        values: dict[str, Array] = {}
        ages: dict[str, float] = {}
        fresh = True
        for name, track in self._inputs.items():
            stamp_ns, values[name] = self._value(name, track, time_ns)
            ages[name] = s_from_ns(time_ns - stamp_ns)
            fresh &= time_ns - stamp_ns <= track.max_age_ns
            track.drop_before(time_ns)
        due = [s for track in self._reports.values() for s in track.up_to(next_ns)]
        self._sent.take(sorted(due, key=lambda sample: sample.stamp_ns))
        for reports in self._reports.values():
            reports.drop_before(next_ns)
        self._shown_ns = time_ns
        robot = self._states.robot_state(values)
        measured = measured_action(self._layout, robot)
        if measured is None:
            raise ValueError("the robot does not measure all that it is commanded")
        action, sent = self._sent.action(measured, next_ns)
        report = self._sent.last
        return Frame(
            stamp_ns=time_ns,
            images={name: values[name] for name in self.topics.cameras.values()},
            state=self._states.state(robot),
            action=action.astype(np.float32),
            proposed=self._sent.proposed().astype(np.float32),
            control_source="" if report is None else report.control_source,
            intervention=self._sent.intervention,
            guard_level=0 if report is None else report.level,
            valid=fresh and sent,
            task=self._task(time_ns),
            ages_s=ages,
        )

    def _value(self, name: str, track: Track[Any], time_ns: int) -> tuple[int, Array]:
        """(stamp, value) of the newest valid sample; images are decoded here."""
        while (sample := track.at(time_ns)) is not None:
            shown = self._shown.get(name)
            if not isinstance(sample.value, Message):
                return sample.stamp_ns, sample.value
            if shown is not None and shown[0] == sample.stamp_ns:
                return shown
            try:
                image = pixels(sample.value)
            except ValueError as error:
                self._refuse(sample.value.topic, str(error))
                track.forget(sample.stamp_ns)
                continue
            image.setflags(write=False)
            self._shown[name] = (sample.stamp_ns, image)
            return self._shown[name]
        return self._shown[name]

    def _task(self, time_ns: int) -> str:
        """The instruction then: that of the chunk in execution, else the last one given."""
        report = self._sent.last
        if report is not None and report.instruction:
            return report.instruction
        said = [words for stamp_ns, words in self._words if stamp_ns - self._offset_ns <= time_ns]
        return said[-1] if said else ""
