"""How the control node tells what it does: status on change and 5 times a second, diagnostics, log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

from vla_policy.control import Control
from vla_policy.msg import ControlStatus
from vla_policy.ros import qos
from vla_policy.ros.control_report import Measured, diagnostics_msg, status_msg
from vla_policy.ros.identity import identified
from vla_policy.ros.outputs.sender import ACK_S
from vla_policy.ros.warn import OnChange
from vla_policy.safety.watchdog import Inputs
from vla_policy.timing import s_from_ns
from vla_policy.types import Level, Reason, Verdict

STATUS_S = 0.2
DIAGNOSTICS_EVERY = 5  # status periods
CLOCK_STOPPED_S = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """What there is to tell. inactive: why the node does not run, a sentence; None if it does.

    problems: why controllers cannot be commanded now, one sentence each.
    """

    control: Control
    inputs: Inputs
    inactive: str | None
    shadow: bool
    embodiment: str
    problems: tuple[str, ...] = ()


class Teller:
    """look: gives the view of this moment."""

    def __init__(self, node: Node, log: OnChange, look: Callable[[], View]) -> None:
        self._node, self._log, self._look = node, log, look
        self.measured = Measured()
        self._last = self._worst = _STARTING
        self._status = node.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        # Steady: if the clock of a simulation stops, this must still be said.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(STATUS_S, self._on_timer, clock=steady)
        self._count = 0
        self._tick_ns, self._tick_s = 0, time.monotonic()

    def start(self) -> None:
        """The node has been activated."""
        self._last = self._worst = _STARTING
        self._tick_ns, self._tick_s = 0, time.monotonic()

    def tick(self, now_ns: int, period_ns: int) -> None:
        """A tick has begun: note how late it is."""
        if 0 < self._tick_ns <= now_ns:
            late_ns = max(0, now_ns - self._tick_ns - period_ns)
            self.measured.lateness_s.append(s_from_ns(late_ns))
        self._tick_ns, self._tick_s = now_ns, time.monotonic()

    def take(self, verdict: Verdict) -> None:
        """A verdict; told at once if the level or the reason of a hold has changed."""
        before, self._last = self._last, verdict
        if verdict.level >= self._worst.level:
            self._worst = verdict
        if _phase(before) == _phase(verdict):
            return
        self._worst = verdict
        reason = verdict.reasons[-1] if verdict.reasons else None
        if verdict.level >= Level.HOLD and reason is not None:
            self._log.problem("guard", reason.code, f"{verdict.level.name}: {reason.detail}")
        else:
            self._log.fine("guard", "commands go out")
        self.tell()

    def tell(self, *, diagnostics: bool = False) -> None:
        """Publish the worst verdict since the last time, so that a short one is seen too."""
        view = self._look()
        verdict = self._worst
        if view.inactive is not None:
            verdict = Verdict(Level.HOLD, None, (Reason("inactive", view.inactive),))
        self._worst = self._last
        now = self._node.get_clock().now()
        status = status_msg(view.control, verdict, view.inputs, self.measured, now.nanoseconds)
        status.header.stamp, status.shadow = now.to_msg(), view.shadow
        self._status.publish(status)
        if diagnostics:
            report = diagnostics_msg(
                status, view.inputs, self.measured, now.nanoseconds, problems=view.problems
            )
            self._diagnostics.publish(identified(self._node, report, view.embodiment))

    def rest(self) -> None:
        """Tell, and give it a moment to arrive: the process may end before a slower one has read it."""
        self.tell()
        self._status.wait_for_all_acked(Duration(seconds=ACK_S))

    def _on_timer(self) -> None:
        self._count += 1
        active = self._look().inactive is None
        if active and time.monotonic() - self._tick_s > CLOCK_STOPPED_S:
            detail = "the clock does not advance; does the simulation run?"
            self._worst = Verdict(Level.HOLD, None, (Reason("clock_stopped", detail),))
            self._log.problem("clock", "clock_stopped", detail)
        else:
            self._log.fine("clock", "the clock advances again")
        self.tell(diagnostics=self._count % DIAGNOSTICS_EVERY == 0)


_STARTING = Verdict(Level.HOLD, None, (Reason("inactive", "the first tick is still to come"),))


def _phase(verdict: Verdict) -> tuple[Level, str]:
    """What is told at once when it changes; PASS and SLOW alternate too often for that."""
    if verdict.level < Level.HOLD:
        return Level.PASS, ""
    return verdict.level, verdict.reasons[-1].code if verdict.reasons else ""
