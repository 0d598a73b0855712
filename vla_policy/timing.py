"""Conversions of times: integer nanoseconds of the node's clock in, integers and ratios out."""

from __future__ import annotations

NS_PER_S = 1_000_000_000

# Stamps may lead the clock by this much: two machines, or a delayed clock topic.
FUTURE_TOLERANCE_NS = 100_000_000


def ns_from_s(time_s: float) -> int:
    """Nearest integer nanosecond."""
    return round(time_s * NS_PER_S)


def s_from_ns(time_ns: int) -> float:
    """Seconds, for messages and people."""
    return time_ns / NS_PER_S


def due_ns(obs_ns: int, step_ns: int, row: int) -> int:
    """When the controller starts to move towards a row; it is reached one step later."""
    return obs_ns + row * step_ns


def row_at(obs_ns: int, step_ns: int, now_ns: int) -> int:
    """The current row at now_ns; negative before the observation."""
    return (now_ns - obs_ns) // step_ns


def rows_left(obs_ns: int, step_ns: int, rows: int, now_ns: int) -> int:
    """Rows whose end is still to come, the current one included."""
    return min(rows, max(0, rows - row_at(obs_ns, step_ns, now_ns)))
