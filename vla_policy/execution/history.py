"""Time-stamped values of the last 2 s, looked up by time."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.types import Array, readonly

KEEP_NS = 2_000_000_000  # for older observations the robot's position is unknown


@dataclass(frozen=True, slots=True)
class History:
    """samples: (stamp in ns, float64[d]) in the order of their stamps."""

    samples: tuple[tuple[int, Array], ...] = ()


def remember(history: History, stamp_ns: int, value: Array) -> History:
    """history with one more sample; unchanged if its stamp does not advance."""
    samples = history.samples
    if samples and stamp_ns <= samples[-1][0]:
        return history
    oldest_ns = stamp_ns - KEEP_NS
    first = next((i for i, (ns, _) in enumerate(samples) if ns >= oldest_ns), len(samples))
    return History((*samples[first:], (stamp_ns, readonly(value))))


def at(history: History, time_ns: int) -> Array | None:
    """The last value at or before time_ns, else the first later one; None if empty or too old."""
    if not history.samples or time_ns < history.samples[-1][0] - KEEP_NS:
        return None
    found = history.samples[0][1]
    for stamp_ns, value in history.samples:
        if stamp_ns > time_ns:
            break
        found = value
    return found
