"""The commands up to a time, from reports that arrive tick by tick."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vla_policy.data.alignment import WAIT_NS, StampedValue
from vla_policy.data.streams import CommandReport
from vla_policy.embodiment.layout import VELOCITY, Layout
from vla_policy.types import Array

POLICY, TELEOP, TELEOPERATED = "policy", "teleop", "teleoperated"


class CommandsSent:
    """The last command of each column, its source and the guard's decision.

    A position stands until another is sent. A velocity does not: the robot rests when nothing is
    sent any more, so its columns are then zero.
    """

    def __init__(self, layout: Layout) -> None:
        self._names = layout.names
        self._columns = {name: i for i, name in enumerate(layout.names)}
        self._velocity = np.zeros(len(layout.names), dtype=bool)
        for part in layout.of_kind(VELOCITY):
            self._velocity[part.columns] = True
        self._sent = np.full(len(layout.names), np.nan)
        self._sent_ns = np.zeros(len(layout.names), dtype=np.int64)
        self._policy_was_there = False
        self.last: CommandReport | None = None

    def take(self, reports: Iterable[StampedValue[CommandReport]]) -> None:
        """Add reports, in the order of their stamps. Unknown columns are refused before."""
        for sample in reports:
            report = sample.value
            self.last = report
            self._policy_was_there |= report.control_source == POLICY
            columns = self._places(report)
            if report.sent is None:
                self._sent[columns[self._velocity[columns]]] = 0.0
                continue
            told = ~np.isnan(report.sent)
            silent = columns[~told]
            self._sent[silent[self._velocity[silent]]] = 0.0
            self._sent[columns[told]] = report.sent[told]
            self._sent_ns[columns[told]] = report.stamp_ns

    def unknown(self, report: CommandReport) -> tuple[str, ...]:
        """Columns of a report that this robot lacks."""
        return tuple(name for name in report.names if name not in self._columns)

    def action(self, measured: Array, time_ns: int) -> tuple[Array, bool]:
        """(float64[d], whether anything was sent); measured: the action of staying in place."""
        sent = ~np.isnan(self._sent)
        rests = self._velocity & sent & (self._sent_ns < time_ns - WAIT_NS)
        action = np.where(sent, self._sent, measured)
        return np.where(rests, 0.0, action), bool(sent.any())

    def proposed(self) -> Array:
        """float64[d] of the last report, NaN where nothing was planned."""
        values = np.full(len(self._names), np.nan)
        if self.last is not None and self.last.proposed is not None:
            values[self._places(self.last)] = self.last.proposed
        return values

    @property
    def intervention(self) -> bool:
        """Whether a person moves the robot after the policy has moved it in this episode."""
        if self.last is None or not self._policy_was_there:
            return False
        return self.last.mode == TELEOPERATED or self.last.control_source == TELEOP

    def _places(self, report: CommandReport) -> Array:
        return np.array([self._columns[name] for name in report.names], dtype=np.int64)
