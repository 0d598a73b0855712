"""The reports of the task node: feedback of the action and its entry on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vla_policy.action import ExecuteInstruction
from vla_policy.msg import InstructionOutcome
from vla_policy.ros.messages.convert import stamp_from_ns
from vla_policy.runtime.long_task import PLANNING, LongTask
from vla_policy.runtime.task import WAITING, Ended, Outcome, Status, TaskRun
from vla_policy.timing import s_from_ns

GOOD_ENDINGS = (Outcome.DONE, Outcome.CANCELED, Outcome.PREEMPTED)


def feedback(run: TaskRun, *, planned: bool = False) -> ExecuteInstruction.Feedback:
    """The action's feedback on the present run. planned: it is a sub-task of a long task."""
    status = run.status
    doing = run.plan or run.instruction
    if planned:
        doing = run.instruction
    elif run.chunks == 0:
        doing = "waiting for the policy"
    return ExecuteInstruction.Feedback(
        subtask=doing,
        plan=run.plan,
        latency=run.latency_s,
        queued_rows=status.queued_rows,
        level=int(status.level),
        reason=status.reason,
    )


def planning_feedback(status: Status) -> ExecuteInstruction.Feedback:
    """The action's feedback while the planner thinks and the robot holds."""
    waits = status.reason in ("", WAITING)
    return ExecuteInstruction.Feedback(
        subtask=PLANNING.code,
        queued_rows=status.queued_rows,
        level=int(status.level),
        reason=PLANNING.code if waits else status.reason,
    )


def outcome(instruction: str, how: Ended, now_ns: int) -> InstructionOutcome:
    """The message on an instruction that has ended or was refused. now_ns: node clock."""
    return InstructionOutcome(
        header=Header(stamp=stamp_from_ns(now_ns)),
        instruction=instruction,
        outcome=int(how.outcome),
        message=how.message,
    )


def diagnosis(
    long: LongTask | None, run: TaskRun | None, last: tuple[str, Ended] | None, now_ns: int
) -> DiagnosticArray:
    """run: the present one. long: the long task that it belongs to. last: instruction and ending of the one before. now_ns: node clock."""
    entry = DiagnosticStatus(name="task: instruction", hardware_id="task")
    entry.level = DiagnosticStatus.OK
    entry.message = "idle" if run is None else f"following: {run.instruction}"
    values = {"instruction": "" if run is None else run.instruction}
    if long is not None:
        entry.message = f"{PLANNING.code}: {long.instruction}" if run is None else entry.message
        values |= {"long task": long.instruction, "sub-tasks": str(len(long.done))}
    if last is not None:
        text, how = last
        if run is None and long is None and how.outcome not in GOOD_ENDINGS:
            entry.level = DiagnosticStatus.WARN
            entry.message = f"{how.outcome.name}: {how.message}"
        values |= {
            "last instruction": text,
            "last outcome": how.outcome.name,
            "last message": how.message,
        }
    if run is not None:
        values |= {
            "elapsed (s)": f"{s_from_ns(now_ns - run.started_ns):.1f}",
            "chunks": str(run.chunks),
        }
    entry.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(header=Header(stamp=stamp_from_ns(now_ns)), status=[entry])
