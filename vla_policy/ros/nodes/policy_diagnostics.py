"""The policy node's entry on /diagnostics."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vla_policy.runtime.inference import InferenceStatus

ENTRY = "policy: inference"
UNDERSTANDING = "understanding"  # key of Policy.understanding
QUIET = ("inactive", "no_instruction", "words", "not_seen", "looking")  # reasons that are no fault


def report(
    stamp: Time, status: InferenceStatus | None, refusal: str, understanding: str = ""
) -> DiagnosticArray:
    """The diagnostics of one moment.

    status: None before the node is configured. refusal: why configuring failed, or empty.
    understanding: Policy.understanding, or empty.
    """
    entry = DiagnosticStatus(name=ENTRY, hardware_id="policy")
    if status is None:
        entry.level = DiagnosticStatus.ERROR if refusal else DiagnosticStatus.OK
        entry.message = refusal or "not configured"
        return DiagnosticArray(header=Header(stamp=stamp), status=[entry])
    reason = status.reason
    if status.stopped:
        entry.level = DiagnosticStatus.ERROR
    elif reason is None or reason.code in QUIET:
        entry.level = DiagnosticStatus.OK
    else:
        entry.level = DiagnosticStatus.WARN
    entry.message = "inferring" if reason is None else reason.detail
    values = {
        "reason": "" if reason is None else reason.code,
        "chunks": str(status.chunks),
        "model exceptions": str(status.failures),
        "adapter": status.adapter,
        UNDERSTANDING: understanding,
    }
    if status.latency_s is not None:
        for name, value in zip(("p50", "p99", "max"), status.latency_s, strict=True):
            values[f"inference {name} (ms)"] = f"{1e3 * value:.1f}"
    if status.delay_s is not None:
        values["delay that is reckoned with (ms)"] = f"{1e3 * status.delay_s:.1f}"
    values["chunks that continue the plan"] = str(status.continued)
    for topic, age_s in status.age_s.items():
        values[f"age of {topic} (s)"] = "never" if age_s is None else f"{age_s:.3f}"
    entry.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(header=Header(stamp=stamp), status=[entry])
