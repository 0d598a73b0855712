"""Measurements over a take for its verdict: times at rest, and the guard's actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vla_policy.data.streams import CommandReport
from vla_policy.types import Array, Level

STILL = 0.004  # m, rad or share of a gripper's stroke: below a person's motion, above sensor noise


class MotionMeter:
    """Finds the times in which a robot stood still; add() the measured state of each frame."""

    def __init__(self, fewest_s: float = 1.0) -> None:
        self._fewest_s = fewest_s
        self._anchor: Array | None = None
        self._anchor_s = self._last_s = 0.0
        self._stalls: list[tuple[float, float]] = []
        self.moved = False

    def add(self, at_s: float, state: Array) -> None:
        """state: float[s] at at_s seconds of the take."""
        if self._anchor is None:
            self._anchor, self._anchor_s = state, at_s
        elif abs(state - self._anchor).max(initial=0.0) > STILL:
            self._close()
            self._anchor, self._anchor_s, self.moved = state, at_s, True
        self._last_s = at_s

    def stalls(self) -> tuple[tuple[float, float], ...]:
        """(begin s, seconds) of each, including the current one."""
        seconds = self._last_s - self._anchor_s
        now = [(self._anchor_s, seconds)] if seconds >= self._fewest_s else []
        return (*self._stalls, *now)

    def _close(self) -> None:
        seconds = self._last_s - self._anchor_s
        if seconds >= self._fewest_s:
            self._stalls.append((self._anchor_s, seconds))


@dataclass(frozen=True, slots=True)
class GuardCounts:
    """ticks: of the control node with a proposal.

    held, slowed: of these. reasons: code -> ticks.
    """

    ticks: int = 0
    held: int = 0
    slowed: int = 0
    reasons: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def counted(counts: GuardCounts, report: CommandReport) -> GuardCounts:
    """counts with one more tick."""
    if report.proposed is None:
        return counts
    reasons = dict(counts.reasons)
    for code in report.reasons:
        reasons[code] = reasons.get(code, 0) + 1
    return GuardCounts(
        counts.ticks + 1,
        counts.held + (report.level >= Level.HOLD),
        counts.slowed + (report.level == Level.SLOW),
        MappingProxyType(reasons),
    )
