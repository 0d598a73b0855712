"""From streams with different rates to frames at one rate: the rule, and its arithmetic.

Frame k shows t_k = start + k / fps. It has the newest sample of each stream with stamp <= t_k,
and it is valid if each is younger than its stream allows; a stream without new samples repeats
its last one, and nothing is ever filled with zeros. start is the first time at which every stream
has a sample. The action of frame k is the last command sent with stamp <= t_(k+1): the setpoint
that is reached at the end of the step, like row k of a chunk (types.ActionChunk).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from vla_policy.timing import NS_PER_S

T = TypeVar("T")
RULE = "newest sample with stamp <= start + k / fps; action: last command sent with stamp <= start + (k + 1) / fps"
# A sample that arrives this long after the time that it shows is too late for its frame.
WAIT_NS = 500_000_000
# Stamps and times of receipt further apart than this are of different clocks.
SAME_CLOCK_NS = 1_000_000_000
# Without any message for so long a clock has jumped, or the recording has ended; it is no gap.
SILENCE_NS = 10_000_000_000


def frame_ns(start_ns: int, fps: int, index: int) -> int:
    """The time of a frame. Raises ValueError for fps < 1."""
    if not fps >= 1:
        raise ValueError(f"fps: got {fps}, expected at least 1")
    return start_ns + round(index * NS_PER_S / fps)


def clock_offset_ns(lags_ns: Iterable[int]) -> int:
    """Offset to subtract from times of receipt to convert them to the clock of the stamps.

    lags_ns: time of receipt minus stamp, of one sample of each stream. 0 for a common clock; it
    differs in a bag of a simulation that was recorded by the wall clock.
    """
    ordered = sorted(lags_ns)
    middle = ordered[len(ordered) // 2] if ordered else 0
    return middle if abs(middle) > SAME_CLOCK_NS else 0


@dataclass(frozen=True, slots=True)
class StampedValue(Generic[T]):
    """One value of a stream. lag_ns: when it was received, minus stamp_ns."""

    stamp_ns: int
    value: T
    lag_ns: int = 0


class Track(Generic[T]):
    """The samples of one stream that frames may still need, in the order of their stamps.

    A stamp that does not advance is no new sample: a frozen sender becomes stale, and a clock that
    went back gives none.
    """

    def __init__(self, max_age_ns: int) -> None:
        self.max_age_ns = max_age_ns
        self._stamps: list[int] = []
        self._samples: list[StampedValue[T]] = []

    def add(self, sample: StampedValue[T]) -> bool:
        """Keep a sample; False if its stamp does not advance."""
        newest = self.newest_ns
        if newest is not None and sample.stamp_ns <= newest:
            return False
        self._stamps.append(sample.stamp_ns)
        self._samples.append(sample)
        return True

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the last sample; None before the first."""
        return self._stamps[-1] if self._stamps else None

    @property
    def oldest(self) -> StampedValue[T] | None:
        """The first sample still kept."""
        return self._samples[0] if self._samples else None

    @property
    def newest(self) -> StampedValue[T] | None:
        """The last sample."""
        return self._samples[-1] if self._samples else None

    def reached(self, time_ns: int) -> bool:
        """Whether no later sample can belong to time_ns."""
        return bool(self._stamps) and self._stamps[-1] >= time_ns

    def at(self, time_ns: int) -> StampedValue[T] | None:
        """The newest sample with stamp <= time_ns."""
        place = bisect_right(self._stamps, time_ns)
        return self._samples[place - 1] if place else None

    def up_to(self, time_ns: int) -> list[StampedValue[T]]:
        """All kept samples with stamp <= time_ns, the oldest first."""
        return self._samples[: bisect_right(self._stamps, time_ns)]

    def forget(self, stamp_ns: int) -> None:
        """Drop the sample of that stamp, which proved invalid."""
        place = bisect_right(self._stamps, stamp_ns) - 1
        if place >= 0 and self._stamps[place] == stamp_ns:
            del self._stamps[place], self._samples[place]

    def drop_before(self, time_ns: int) -> None:
        """Drop samples that no frame at time_ns or later needs: all before its newest one."""
        place = bisect_right(self._stamps, time_ns) - 1
        if place > 0:
            del self._stamps[:place], self._samples[:place]

    def drop_after(self, time_ns: int) -> int:
        """Drop samples with stamps after time_ns; returns their number."""
        place = bisect_right(self._stamps, time_ns)
        dropped = len(self._stamps) - place
        del self._stamps[place:], self._samples[place:]
        return dropped
