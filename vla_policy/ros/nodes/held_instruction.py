"""An instruction that is held until the graph can follow it, as that of a launch file.

It never starts by surprise: it is dropped with a message after a stated time, and at once when the robot is stopped
or another instruction arrives.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_msgs.msg import String

from vla_policy.ros.nodes.policy_diagnostics import ENTRY
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.watch import Lifecycles
from vla_policy.ros.process import qos
from vla_policy.ros.process.diagnostic_names import diagnostic_name
from vla_policy.types import Level

POLL_S = 0.1
SETTLE_S = 0.5  # the task node reads the same status and may read it later


def hold(client: Client, instruction: str, wait_s: float) -> None:
    """Return once policy, task and control can follow instruction.

    Raises ValueError if it is dropped meanwhile or the policy node refuses its policy,
    TimeoutError after wait_s, all with a sentence.
    """
    heard: list[str] = []
    for topic, profile in (("instruction", qos.WORDS), ("active_instruction", qos.LATCHED)):
        keep = _keep_words if topic == "active_instruction" else _keep_all
        client.node.create_subscription(String, topic, keep(heard), profile)
    refusals: list[str] = []
    name = diagnostic_name(client.node, ENTRY)
    client.node.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda msg: refusals.extend(errors_of(msg, name)),
        qos.DIAGNOSTICS,
    )
    policy = Lifecycles(client.node, ("policy",))
    print(
        f"held for at most {wait_s:g} s, until the policy is active and the robot engaged:"
        f" {instruction!r}; a stop or another instruction drops it",
        flush=True,
    )
    end, ready_s = time.monotonic() + wait_s, None
    while ready_s is None or time.monotonic() - ready_s < SETTLE_S:
        status = client.status
        if heard:
            raise ValueError(f"dropped {instruction!r}: meanwhile {heard[0]!r} was said")
        if status is not None and status.level == Level.STOP:
            raise ValueError(f"dropped {instruction!r}: the robot is stopped: {status.detail}")
        missing = _missing(client, policy)
        if missing and refusals:
            raise ValueError(f"dropped {instruction!r}: the policy node says: {refusals[-1]}")
        if missing and time.monotonic() > end:
            raise TimeoutError(f"dropped {instruction!r} after {wait_s:g} s: {missing}")
        ready_s = None if missing else ready_s or time.monotonic()
        time.sleep(POLL_S)


def errors_of(report: DiagnosticArray, name: str) -> list[str]:
    """The message of the diagnostics entry name, if it is an error."""
    return [
        s.message for s in report.status if s.name == name and s.level == DiagnosticStatus.ERROR
    ]


def _missing(client: Client, policy: Lifecycles) -> str:
    """What is not ready, a sentence; empty if everything is."""
    if not client.wait_for_task(0.0):
        return "no task node takes instructions"
    if not policy.active("policy"):
        return "the policy node is not active"
    if client.status is None:
        return "the control node is not heard"
    return "" if client.status.engaged else "no operator has engaged the robot"


def _keep_all(heard: list[str]) -> Callable[[String], None]:
    return lambda msg: heard.append(msg.data)


def _keep_words(heard: list[str]) -> Callable[[String], None]:
    return lambda msg: heard.append(msg.data) if msg.data else None
