"""The reports of the control node: status on change and 5 times a second, diagnostics, log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

from vla_policy.execution.timeline import queued_rows
from vla_policy.msg import ControlStatus
from vla_policy.ros.messages.convert import stamp_from_ns
from vla_policy.ros.outputs.sender import ACK_S
from vla_policy.ros.process import qos
from vla_policy.ros.process.change_log import ChangeLogger
from vla_policy.ros.process.diagnostic_names import GUARD_ENTRY, identified
from vla_policy.runtime.control import Control
from vla_policy.safety.watchdog import InputStamps
from vla_policy.timing import s_from_ns
from vla_policy.types import Level, Reason, Verdict

STATUS_S = 0.2
DIAGNOSTICS_EVERY = 5  # status periods
CLOCK_STOPPED_S = 1.0


@dataclass(frozen=True, slots=True)
class StatusValues:
    """What is reported. inactive: why the node does not run, a sentence; None if it does.

    problems: why controllers cannot be commanded now, one sentence each.
    """

    control: Control
    inputs: InputStamps
    inactive: str | None
    shadow: bool
    embodiment: str
    problems: tuple[str, ...] = ()


class StatusPublisher:
    """look: returns the current values."""

    def __init__(self, node: Node, log: ChangeLogger, look: Callable[[], StatusValues]) -> None:
        self._node, self._log, self._look = node, log, look
        self.measured = Measured()
        self._last = self._worst = _STARTING
        self._status = node.create_publisher(ControlStatus, "control_status", qos.LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        # Steady: if the clock of a simulation stops, this must still be published.
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
        """Take a verdict; published at once if the level or the reason of a hold has changed."""
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
        """Publish, and allow time for delivery: the process may end before a slower one has read it."""
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
    """What is published at once when it changes; PASS and SLOW alternate too often for that."""
    if verdict.level < Level.HOLD:
        return Level.PASS, ""
    return verdict.level, verdict.reasons[-1].code if verdict.reasons else ""


LEVELS = {
    Level.PASS: DiagnosticStatus.OK,
    Level.SLOW: DiagnosticStatus.OK,
    Level.HOLD: DiagnosticStatus.WARN,
    Level.STOP: DiagnosticStatus.ERROR,
}


@dataclass(slots=True)
class Measured:
    """Rolling times of the control node, in s. lateness and work: of the last 10 s at 50 Hz."""

    lateness_s: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    work_s: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    chunk_latency_s: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    commands: int = 0


def p50_p99_max(values: deque[float]) -> list[float]:
    """Three numbers; zeros before the first."""
    if not values:
        return [0.0, 0.0, 0.0]
    array = np.fromiter(values, dtype=np.float64)
    return [*(float(v) for v in np.percentile(array, (50, 99))), float(array.max())]


def status_msg(
    control: Control,
    verdict: Verdict,
    inputs: InputStamps,
    measured: Measured,
    now_ns: int,
) -> ControlStatus:
    """The status at now_ns without its stamp; verdict: the one to report."""
    reason = verdict.reasons[-1] if verdict.reasons else None
    plan = control.timeline.plan
    chunk = None if plan is None else plan.chunk
    counts = control.guard.counts
    return ControlStatus(
        engaged=control.guard.engaged,
        mode=control.mode,
        level=int(verdict.level),
        reason=reason.code if reason is not None else "",
        detail=reason.detail if reason is not None else "",
        intervention_names=list(counts),
        intervention_counts=list(counts.values()),
        commands_sent=measured.commands,
        queued_rows=queued_rows(control.timeline, now_ns),
        chunk_sequence=chunk.sequence if chunk is not None else 0,
        chunk_start=stamp_from_ns(0 if plan is None else plan.begin_ns),
        chunk_taken=stamp_from_ns(0 if plan is None else plan.start_ns),
        scheme=control.scheme,
        instruction=chunk.instruction if chunk is not None else "",
        chunk_age=_age_s(chunk.obs_ns if chunk is not None else None, now_ns),
        joint_state_age=_age_s(inputs.joint_ns, now_ns),
        ee_pose_age=_age_s(inputs.ee_ns, now_ns),
        command_lateness=p50_p99_max(measured.lateness_s),
        chunk_latency=p50_p99_max(measured.chunk_latency_s),
    )


def diagnostics_msg(
    status: ControlStatus,
    inputs: InputStamps,
    measured: Measured,
    now_ns: int,
    *,
    problems: tuple[str, ...] = (),
) -> DiagnosticArray:
    """The same for /diagnostics, with the age of each camera and the work of a tick.

    problems: why controllers cannot be commanded now.
    """
    entry = DiagnosticStatus(name=GUARD_ENTRY, hardware_id="control")
    waiting = status.reason in ("disengaged", "no_chunk", "no_teleop", "paused", "inactive")
    entry.level = DiagnosticStatus.OK if waiting else LEVELS[Level(status.level)]
    entry.message = status.detail or "commands go out as planned"
    if problems and entry.level == DiagnosticStatus.OK:
        entry.level, entry.message = DiagnosticStatus.WARN, "; ".join(problems)
    values = {
        "engaged": str(status.engaged),
        "mode": status.mode,
        "shadow": str(status.shadow),
        "level": Level(status.level).name,
        "reason": status.reason,
        "commands sent": str(status.commands_sent),
        "queued rows": str(status.queued_rows),
    }
    series = (
        ("command lateness", measured.lateness_s),
        ("work per tick", measured.work_s),
        ("chunk latency", measured.chunk_latency_s),
    )
    for what, series_s in series:
        for name, value_s in zip(("p50", "p99", "max"), p50_p99_max(series_s), strict=True):
            values[f"{what} {name} (ms)"] = f"{1e3 * value_s:.3f}"
    ages = {"joint_states": inputs.joint_ns, "ee_pose": inputs.ee_ns, **inputs.cameras}
    for name, stamp_ns in ages.items():
        values[f"age of {name} (s)"] = (
            "never" if stamp_ns is None else f"{_age_s(stamp_ns, now_ns):.3f}"
        )
    for name, count in zip(status.intervention_names, status.intervention_counts, strict=True):
        values[f"interventions: {name}"] = str(count)
    entry.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(header=status.header, status=[entry])


def _age_s(stamp_ns: int | None, now_ns: int) -> float:
    """Age for a message, in which -1 stands for never."""
    return -1.0 if stamp_ns is None else s_from_ns(now_ns - stamp_ns)
