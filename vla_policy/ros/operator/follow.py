"""Following an instruction from a terminal: the lines printed meanwhile, and its cancellation."""

from __future__ import annotations

import time
from collections.abc import Mapping

from vla_policy.action import ExecuteInstruction
from vla_policy.msg import ControlStatus
from vla_policy.ros.operator.client import Client, InstructionResult

LINE_S = 1.0  # between two lines of progress
SILENCE_S = 5.0  # without feedback, after which the task node counts as lost
POLL_S = 0.1


class Progress:
    """Lines for a terminal: on change, at most one each LINE_S; limits that act are summed up at the end."""

    def __init__(self, started_s: float) -> None:
        self.heard_s = started_s
        self._shown = self._news = ""
        self._shown_s = float("-inf")

    def hear(self, feedback: ExecuteInstruction.Feedback, now_s: float) -> str | None:
        """The line to print now, or None."""
        self.heard_s = now_s
        line: str = feedback.subtask or feedback.plan
        if feedback.level >= ControlStatus.LEVEL_HOLD and feedback.reason:
            line = f"{line} (holds: {feedback.reason})"
        if not line or line == self._shown or now_s - self._shown_s < LINE_S:
            return None
        self._shown, self._shown_s = line, now_s
        return line


def interventions(status: ControlStatus | None) -> dict[str, int]:
    """Code of every check that ever acted -> how often."""
    if status is None:
        return {}
    return dict(zip(status.intervention_names, status.intervention_counts, strict=False))


def acted(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """One line for each kind of intervention between the two, the most frequent first."""
    counts = {code: count - before.get(code, 0) for code, count in after.items()}
    most = sorted(counts.items(), key=lambda entry: -entry[1])
    return tuple(f"{code}: {count} times" for code, count in most if count > 0)


def follow(client: Client, instruction: str, timeout_s: float) -> InstructionResult:
    """The outcome; timeout_s is kept by the task node, in the time of the robot.

    Ctrl-C and a task node that is silent for SILENCE_S cancel the instruction: the outcome is
    then that of the cancellation, or of a stop where that was not confirmed.
    """
    progress = Progress(time.monotonic())

    def tell(feedback: ExecuteInstruction.Feedback) -> None:
        line = progress.hear(feedback, time.monotonic())
        if line is not None:
            print(f"  {line}", flush=True)

    try:
        result = client.start(instruction, timeout_s, tell)
        while True:
            outcome = client.outcome(result, POLL_S)
            if outcome is not None:
                return outcome
            if time.monotonic() - progress.heard_s > SILENCE_S:
                return give_up(client, f"the task node is silent for {SILENCE_S:g} s")
    except KeyboardInterrupt:
        return give_up(client, "interrupted")
    except TimeoutError as error:
        return give_up(client, str(error))


def give_up(client: Client, why: str) -> InstructionResult:
    """Cancel the instruction and wait for the confirmation; without one stop the robot."""
    print(f"{why}; taking the instruction back", flush=True)
    try:
        outcome = client.cancel()
    except TimeoutError as error:
        problem = str(error)
    else:
        return InstructionResult(
            "canceled", f"{why}; taken back: {outcome.message}", outcome.elapsed_s
        )
    try:
        client.stop(timeout_s=2.0)
    except (TimeoutError, ValueError) as error:
        return InstructionResult(
            "unknown",
            f"{why}; NOT TAKEN BACK ({problem}) and NOT STOPPED ({error});"
            " if the robot moves, use its emergency stop",
        )
    return InstructionResult(
        "stopped", f"{why}; not taken back ({problem}), so the robot was stopped"
    )
