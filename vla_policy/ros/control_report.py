"""What the control node tells: its latched status and its entry on /diagnostics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from vla_policy.control import Control
from vla_policy.execution.timeline import queued_rows
from vla_policy.msg import ControlStatus
from vla_policy.ros.convert import stamp_from_ns
from vla_policy.safety.watchdog import Inputs
from vla_policy.timing import s_from_ns
from vla_policy.types import Level, Verdict

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
    inputs: Inputs,
    measured: Measured,
    now_ns: int,
) -> ControlStatus:
    """The status at now_ns without its stamp; verdict: the one to tell of."""
    reason = verdict.reasons[-1] if verdict.reasons else None
    timeline = control.timeline
    chunk = timeline.chunk
    counts = control.guard.counts
    return ControlStatus(
        engaged=control.guard.engaged,
        level=int(verdict.level),
        reason=reason.code if reason is not None else "",
        detail=reason.detail if reason is not None else "",
        intervention_names=list(counts),
        intervention_counts=list(counts.values()),
        commands_sent=measured.commands,
        queued_rows=queued_rows(control.timeline, now_ns),
        chunk_sequence=chunk.sequence if chunk is not None else 0,
        chunk_start=stamp_from_ns(timeline.begin_ns),
        chunk_taken=stamp_from_ns(timeline.start_ns),
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
    inputs: Inputs,
    measured: Measured,
    now_ns: int,
    *,
    problems: tuple[str, ...] = (),
) -> DiagnosticArray:
    """The same for /diagnostics, with the age of each camera and the work of a tick.

    problems: why controllers cannot be commanded now.
    """
    entry = DiagnosticStatus(name="control: guard", hardware_id="control")
    waiting = status.reason in ("disengaged", "no_chunk", "inactive")
    entry.level = DiagnosticStatus.OK if waiting else LEVELS[Level(status.level)]
    entry.message = status.detail or "commands go out as planned"
    if problems and entry.level == DiagnosticStatus.OK:
        entry.level, entry.message = DiagnosticStatus.WARN, "; ".join(problems)
    values = {
        "engaged": str(status.engaged),
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
