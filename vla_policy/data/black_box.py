"""The last hours of a robot as a ring of bags; the newest survives a crash."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from vla_policy.data.bag.qos import Qos
from vla_policy.data.bag.recover import recover
from vla_policy.data.bag.writer import BagWriter
from vla_policy.data.early_sync import EarlySync
from vla_policy.data.lerobot.durable import lock_folder
from vla_policy.data.streams import Message
from vla_policy.parsing.files import one_line
from vla_policy.timing import NS_PER_S

SEGMENT_NS = 60 * NS_PER_S
SEGMENTS = 8  # the least number in the ring: one is never a large part of it
SYNC_S = 1.0
NAME = re.compile(r"\d{8}T\d{6}Z_\d{4}")


class BlackBox:
    """Bags of a minute each in one folder, none above keep_bytes / SEGMENTS, in total keep_bytes.

    latched: topics whose last message begins each bag, so that it can be read alone. Data written
    half a second ago survives the process, data written SYNC_S + half a second ago a power
    failure. Not for several threads at once.
    """

    def __init__(
        self, folder: Path, *, keep_bytes: int, latched: Sequence[str], robot: str
    ) -> None:
        """Lock the folder and close a killed process's bags; `recovered` describes them.

        Raises Busy if another process writes it, OSError if the disk does.
        """
        self.folder = Path(folder)
        self._lock = lock_folder(self.folder)
        self._keep_bytes, self._latched = keep_bytes, frozenset(latched)
        self._robot = robot
        self._last: dict[str, tuple[Message, tuple[Qos, ...]]] = {}
        self._bag: BagWriter | None = None
        self._began_ns = self._newest_ns = 0
        self._bytes = 0
        self._sync = EarlySync(SYNC_S)
        self.recovered = tuple(said for segment in segments(self.folder) if (said := _close(segment)))  # fmt: skip

    def write(self, message: Message, qos: Sequence[Qos] = ()) -> None:
        """Add a message.

        Raises OSError if the disk does; the next message then begins another bag.
        """
        if message.topic in self._latched:
            self._last[message.topic] = (message, tuple(qos))
        try:
            if self._bag is None or self._is_full(message.received_ns):
                self._begin(message.received_ns)
            self._add(message, qos)
        except OSError:
            self._abandon()
            raise

    def flush(self) -> None:
        """Flush to the operating system, for a timer: the robot may stop publishing."""
        try:
            if self._bag is not None:
                self._bag.flush()
        except OSError:
            self._abandon()
            raise

    def close(self) -> None:
        """End the bag and release the folder. After a disk error the next start closes it."""
        with suppress(OSError):
            self._end()
        self._abandon()
        self._sync.close()
        self._lock.close()

    def _is_full(self, now_ns: int) -> bool:
        """By time or size; a clock that jumped begins another bag, whose order would be broken."""
        return (
            now_ns - self._began_ns > SEGMENT_NS
            or now_ns < self._newest_ns - NS_PER_S
            or self._bytes > self._keep_bytes // SEGMENTS
        )

    def _begin(self, now_ns: int) -> None:
        self._end()
        self._make_room()
        bag = BagWriter(self.folder / self._name(), {"black_box": self._robot})
        bag.open()
        self._bag, self._began_ns, self._newest_ns, self._bytes = bag, now_ns, now_ns, 0
        self._sync.begin([bag.folder])
        for message, qos in self._last.values():
            # Re-stamped with now: bags are in the order in which their messages were received.
            self._add(Message(message.topic, message.type, message.stamp_ns, now_ns, message.data), qos)  # fmt: skip

    def _add(self, message: Message, qos: Sequence[Qos]) -> None:
        assert self._bag is not None
        self._bag.write(message, qos)
        self._newest_ns = max(self._newest_ns, message.received_ns)
        self._bytes += len(message.data)

    def _end(self) -> None:
        if self._bag is not None:
            self._bag.close()
            self._bag = None

    def _abandon(self) -> None:
        if self._bag is not None:
            self._bag.abandon()
            self._bag = None

    def _name(self) -> str:
        """By the wall clock, for the user; numbered if it stood still or went back."""
        now = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        kept = segments(self.folder)
        if not kept or kept[-1].name < now:
            return f"{now}_0000"
        stamp, number = kept[-1].name.split("_")
        return f"{stamp}_{int(number) + 1:04d}"

    def _make_room(self) -> None:
        kept = segments(self.folder)
        sizes = [sum(file.stat().st_size for file in segment.iterdir()) for segment in kept]
        room = self._keep_bytes - self._keep_bytes // SEGMENTS
        while kept and sum(sizes) > room:
            shutil.rmtree(kept.pop(0))
            sizes.pop(0)


def segments(folder: Path) -> list[Path]:
    """The bags of a black box, oldest first; other files there are ignored."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())


def _close(segment: Path) -> str | None:
    """Close a killed process's bag. An unreadable bag stays as it is, with a sentence."""
    try:
        return recover(segment)
    except (OSError, ValueError) as error:
        return f"{segment}: not closed: {one_line(error)}"
