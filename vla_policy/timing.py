"""Arithmetic of times: integer nanoseconds of the node's clock in, integers and ratios out."""

from __future__ import annotations

from dataclasses import dataclass, replace

NS_PER_S = 1_000_000_000

# Stamps may lead the clock by this much: two machines, or a clock topic that comes a little later.
FUTURE_TOLERANCE_NS = 100_000_000


def ns_from_s(time_s: float) -> int:
    """Nearest integer nanosecond."""
    return round(time_s * NS_PER_S)


def s_from_ns(time_ns: int) -> float:
    """Seconds, for people and messages."""
    return time_ns / NS_PER_S


def due_ns(obs_ns: int, step_ns: int, row: int) -> int:
    """When the controller starts to pursue a row; it is reached one step later."""
    return obs_ns + row * step_ns


def row_at(obs_ns: int, step_ns: int, now_ns: int) -> int:
    """The row that is pursued at now_ns; negative before the observation."""
    return (now_ns - obs_ns) // step_ns


def rows_left(obs_ns: int, step_ns: int, rows: int, now_ns: int) -> int:
    """Rows whose end is still to come, the one that is pursued included."""
    return min(rows, max(0, rows - row_at(obs_ns, step_ns, now_ns)))


def rows_between_looks(rows: int, asked: int = 0) -> int:
    """Rows that pass between the observations of two chunks of rows; asked 0: half a chunk.

    The other half is what the plan lives on while the next chunk is being computed.
    """
    return asked or max(1, rows // 2)


MEASURED_DELAYS = 10  # as in real-time chunking (arXiv:2506.07339)


@dataclass(frozen=True, slots=True)
class Delays:
    """The last times from an observation to the moment its chunk was taken.

    warm_up: measurements still to be left out; a network's first run is not like the others.
    """

    last_ns: tuple[int, ...] = ()
    warm_up: int = 1

    @property
    def expected_ns(self) -> int | None:
        """The longest of the last ones, so that too many rows are frozen rather than too few; None: none yet."""
        return max(self.last_ns, default=None)


def measured(delays: Delays, delay_ns: int) -> Delays:
    """delays after one more."""
    if delays.warm_up > 0:
        return replace(delays, warm_up=delays.warm_up - 1)
    return replace(delays, last_ns=(*delays.last_ns, delay_ns)[-MEASURED_DELAYS:])
