"""Checks of bags before conversion: stamps, gaps, repeated images, missing topics and tasks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vla_policy.data.bag.metadata import NAMESPACE, ROBOT, TASK
from vla_policy.data.bag.reader import Bag, open_bag
from vla_policy.data.checks.finding import DataFinding, doubt, fault, in_episode
from vla_policy.data.robot_streams import max_ages_ns, topics_of
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.findings import count
from vla_policy.timing import NS_PER_S

IMAGE_TYPES = frozenset(("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"))
HEAD = 12  # leading bytes in which two messages with equal content differ: encapsulation and stamp
REPEATS, REPEATS_S = 3, 0.3  # repetitions of an image, and their duration, that are a fault
PAUSE = 8.0  # times the usual interval of a stream's stamps
AGAIN = "Record it again, and see to this stream before: `vla check topics ROBOT` shows its rate"


@dataclass
class Stream:
    """Data kept of one topic: few numbers, whatever the length of the bag."""

    topic: str
    type: str
    stamps: list[int] = field(default_factory=list)  # eight bytes per message
    back: list[int] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)  # (first message, how many)
    _newest: int | None = None
    _mark: int | None = None
    _same: int = 0

    def add(self, stamp_ns: int, data: bytes) -> None:
        """Add one message."""
        number = len(self.stamps)
        self.stamps.append(stamp_ns)
        if self._newest is not None and stamp_ns < self._newest:
            self.back.append(number)
        self._newest = stamp_ns if self._newest is None else max(self._newest, stamp_ns)
        if self.type in IMAGE_TYPES:
            mark = zlib.crc32(memoryview(data)[HEAD:])
            self._same = self._same + 1 if mark == self._mark else 0
            self._mark = mark
            if self._same == 1:
                self.repeats.append((number, 1))
            elif self._same > 1:
                self.repeats[-1] = (self.repeats[-1][0], self._same)


def check_bags(
    paths: Sequence[Path],
    robot: Embodiment | None = None,
    *,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[DataFinding, ...]:
    """Findings of each bag; episode: its index, frame: a message's number on its topic."""
    found: list[DataFinding] = []
    robots: dict[str, int] = {}
    for number, path in enumerate(paths):
        try:
            bag = open_bag(path)
            robots.setdefault(bag.custom.get(ROBOT, ""), number)
            of_bag = list(check_bag(bag, robot))
        except (ValueError, FileNotFoundError) as error:
            change = (
                "Restore the file from a copy, or recover it by opening the recording once more"
            )
            of_bag = [
                fault("unreadable", str(error).replace(f"{path}: ", ""), change, where=str(path))
            ]
        found += in_episode(of_bag, number)
        tell(number + 1)
    named = [name for name in robots if name]
    if len(named) > 1:
        other = robots[named[-1]]
        found.append(
            fault(
                "mixed_robots",
                f"bags are of {' and of '.join(sorted(named))}",
                "Convert the bags of each robot to a set of its own",
                episode=other,
                where=str(paths[other]),
            )
        )
    return tuple(found)


def check_bag(bag: Bag, robot: Embodiment | None) -> Iterator[DataFinding]:
    """Findings of one bag. Raises ValueError for one that is damaged in the middle."""
    where = str(bag.path)
    if bag.unfinished:
        yield doubt(
            "unreadable",
            bag.unfinished.replace(f"{bag.path}: ", ""),
            "Nothing, if the recorder was killed; it is read as it is",
            where=where,
        )
    if ROBOT in bag.custom and not bag.custom.get(TASK, "").strip():
        yield fault(
            "task",
            "the recording has no task",
            "Name it when it is converted: `vla data convert --task`",
            where=where,
        )
    ages: dict[str, int] = {}
    if robot is not None:
        topics = topics_of(robot, bag.custom.get(NAMESPACE) or "/")
        lacking = [t for t in topics.needed if t not in bag.types]
        if lacking:
            yield fault(
                "missing_frames",
                f"lacks the topics {', '.join(lacking)} of {robot.name}",
                AGAIN,
                where=where,
            )
        allowed = max_ages_ns(robot)
        streams = {**topics.cameras, **dict.fromkeys(topics.joints, "joints"), **topics.poses}
        ages = {t: allowed[s] for t, s in streams.items() if s in allowed}
    found: dict[str, Stream] = {}
    for message in bag.messages():
        stream = found.setdefault(message.topic, Stream(message.topic, message.type))
        stream.add(message.stamp_ns, message.data)
    for stream in found.values():
        yield from _stream(stream, where, ages.get(stream.topic))


def _stream(stream: Stream, where: str, age_ns: int | None) -> Iterator[DataFinding]:
    if stream.back:
        yield fault(
            "time_back",
            f"{stream.topic}: {count(len(stream.back), 'stamp')} before earlier ones",
            "Set the clocks of the machines alike (chrony), or record again",
            frame=stream.back[0],
            frames=len(stream.back),
            where=where,
        )
        return
    stamps = np.array(stream.stamps, np.int64)
    steps = np.diff(stamps)
    usual = float(np.median(steps)) if len(steps) else 0.0
    longest = max((n for _, n in stream.repeats), default=0)
    if longest >= REPEATS and longest * usual >= REPEATS_S * NS_PER_S:
        first = next(at for at, n in stream.repeats if n == longest)
        yield fault(
            "frozen",
            f"{stream.topic} repeats one image {longest} times from {(stamps[first] - stamps[0]) / NS_PER_S:.2f} s on",
            AGAIN,
            frame=first,
            frames=longest,
            where=where,
        )
    regular = stream.type in IMAGE_TYPES or age_ns is not None
    most = age_ns if age_ns is not None else PAUSE * usual
    gaps = np.flatnonzero(steps > most) if regular and usual > 0 else np.zeros(0, int)
    if len(gaps):
        at = int(gaps[0])
        yield fault(
            "missing_frames",
            f"{stream.topic} is silent for {float(steps[gaps].max()) / NS_PER_S:.2f} s; {count(len(gaps), 'gap')}",
            AGAIN,
            frame=at + 1,
            frames=len(gaps),
            where=where,
        )
