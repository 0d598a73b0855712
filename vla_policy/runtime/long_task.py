"""A long instruction as a sequence of sub-tasks that a planner emits; what comes next, and how it ends.

Pure. Between two sub-tasks nothing is active, so the robot holds. Every sub-task is an ordinary run
of task.py; what ends a run because the robot or a person ended it ends the long task as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vla_policy.runtime.instruction import Stop, folded, refuse_instruction, stop_of
from vla_policy.runtime.planning import (
    MAX_SEEN,
    Answered,
    Attempt,
    PlanAnswer,
    PlanRequest,
    sentence,
)
from vla_policy.runtime.task import Ended, Outcome, Status, Timeouts, silence_of, stopped_by, unfit
from vla_policy.timing import ns_from_s, s_from_ns
from vla_policy.types import Reason

SETTLE_S = 0.8  # after a sub-task, before the next look: the arm stops, what was released rests
AGAIN_S = 0.2
GOES_ON = (Outcome.DONE, Outcome.TIMEOUT, Outcome.REFUSED)  # endings of a sub-task
PLANNING = Reason("planning", "the planner decides what is next; the robot holds")


@dataclass(frozen=True, slots=True)
class LongBounds:
    """subtasks: at most begun. tries: of the same one. subtask_s: limit of each. think_s: of an answer."""

    subtasks: int = 12
    tries: int = 3
    subtask_s: float = 30.0
    think_s: float = 20.0


@dataclass(frozen=True, slots=True)
class LongTask:
    """started_ns, due_ns: node clock, 0: no time yet. due_ns: images before it do not count.

    retry_ns: not asked before. direct_ns: time limit if it is no long task. thinking_steady_ns: since when it waits for the planner.
    asked: number of the question to the planner; answers to an earlier one do not count.
    """

    instruction: str
    started_ns: int
    timeout_ns: int
    direct_ns: int
    due_ns: int
    thinking_steady_ns: int
    retry_ns: int = 0
    done: tuple[Attempt, ...] = ()
    given_up: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    asked: int = 0
    waiting: bool = False
    chunks: int = 0
    missing: str = ""  # why the planner could not look yet

    @property
    def request(self) -> PlanRequest:
        """The next question."""
        return PlanRequest(self.instruction, self.done, self.given_up, self.seen)


@dataclass(frozen=True, slots=True)
class Follow:
    """The next sub-task, or the instruction itself. direct: it is no long task."""

    subtask: str
    timeout_ns: int
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Heed:
    """The planner's words are a stop word, which is heeded like a person's."""

    text: str
    stop: Stop


Step = Follow | Heed | Ended | None  # None: ask again


def begin(
    instruction: str, now_ns: int, timeout_ns: int, direct_ns: int, steady_ns: int
) -> LongTask:
    """Before the first question."""
    return LongTask(instruction, now_ns, timeout_ns, direct_ns, now_ns, steady_ns)


def with_clock(task: LongTask, now_ns: int) -> LongTask:
    """As task.with_clock: the time limit counts from the first time of a simulation's clock."""
    return task if task.started_ns else replace(task, started_ns=now_ns, due_ns=now_ns)


def is_due(task: LongTask, now_ns: int) -> bool:
    """Whether the planner is to be asked now."""
    return not task.waiting and now_ns >= max(task.due_ns, task.retry_ns)


def asked(task: LongTask) -> LongTask:
    """The question has been sent."""
    return replace(task, waiting=True, asked=task.asked + 1)


def again(task: LongTask, why: str, now_ns: int) -> LongTask:
    """Ask once more in a moment: there is no image yet. The time to think goes on."""
    return replace(task, waiting=False, missing=why, retry_ns=now_ns + ns_from_s(AGAIN_S))


def answered(
    task: LongTask, answer: PlanAnswer, bounds: LongBounds, now_ns: int
) -> tuple[LongTask, Step]:
    """The task after an answer to its last question, and what to do."""
    if answer.kind is Answered.NOT_READY:
        return again(task, answer.text, now_ns), None
    task = replace(task, waiting=False, missing="", seen=_known(task.seen, answer.seen))
    left_ns = task.started_ns + task.timeout_ns - now_ns
    told = sentence(answer.text)
    if answer.kind is Answered.DIRECT and not task.done:
        return task, Follow(task.instruction, task.direct_ns, direct=True)
    if answer.kind is Answered.FINISHED:
        steps = len(task.done)
        return task, Ended(
            Outcome.DONE,
            f"the planner reports the task complete after {steps} sub-tasks: {told}; nothing else has verified it",
        )
    if answer.kind is Answered.CANNOT:
        return task, Ended(Outcome.REFUSED, f"the planner gives up: {told}")
    if answer.kind is not Answered.NEXT:
        return task, Ended(Outcome.STALE, f"the planner gives no answer: {told}")
    return _next(task, answer.text.strip(), bounds, left_ns, now_ns)


def _next(
    task: LongTask, said: str, bounds: LongBounds, left_ns: int, now_ns: int
) -> tuple[LongTask, Step]:
    stop = stop_of(said)
    if stop is not None:
        return task, Heed(said, stop)
    if (problem := refuse_instruction(said)) is not None:
        return task, Ended(
            Outcome.REFUSED, f"the planner's sub-task cannot be followed: {problem}"
        )
    if len(task.done) >= bounds.subtasks:
        return task, Ended(
            Outcome.TIMEOUT, f"not done after {bounds.subtasks} sub-tasks, the next was {said!r}"
        )
    tries = [past for past in task.done if folded(past.subtask) == folded(said)]
    if len(tries) >= bounds.tries:
        if any(folded(past) == folded(said) for past in task.given_up):
            why = (
                f"{said!r} was tried {len(tries)} times ({tries[-1].outcome}: {tries[-1].message})"
            )
            return task, Ended(Outcome.REFUSED, f"no way on: {why}")
        return replace(task, given_up=(*task.given_up, said), due_ns=now_ns), None
    return task, Follow(said, min(left_ns, ns_from_s(bounds.subtask_s)))


def subtask_ended(
    task: LongTask, subtask: str, how: Ended, chunks: int, now_ns: int, steady_ns: int
) -> LongTask | Ended:
    """The task after a sub-task ended by itself; Ended if nothing more is to be tried."""
    if how.outcome not in GOES_ON:
        return Ended(how.outcome, f"in {subtask!r}: {how.message}")
    return replace(
        task,
        done=(*task.done, Attempt(subtask, how.outcome.name, how.message)),
        chunks=task.chunks + chunks,
        due_ns=now_ns + ns_from_s(SETTLE_S),
        thinking_steady_ns=steady_ns,
        waiting=False,
    )


def over(
    task: LongTask,
    status: Status,
    timeouts: Timeouts,
    bounds: LongBounds,
    now_ns: int,
    steady_ns: int,
) -> Ended | None:
    """How a task ends now that waits for its planner, or None if it goes on waiting."""
    ended = unfit(status) or silence_of(status, timeouts, steady_ns) or late(task, now_ns)
    if ended is not None:
        return ended
    if steady_ns - task.thinking_steady_ns > ns_from_s(bounds.think_s):
        why = f": {task.missing}" if task.missing else ""
        told = f"the planner gives no answer: none came within {bounds.think_s:g} s{why}"
        return Ended(Outcome.STALE, told)
    return None


def late(task: LongTask, now_ns: int) -> Ended | None:
    """Whether the time of the whole task is up."""
    if now_ns < task.started_ns:
        return Ended(Outcome.STALE, "the clock went back")
    if now_ns - task.started_ns < task.timeout_ns:
        return None
    return Ended(
        Outcome.TIMEOUT, f"the long task is not done within {s_from_ns(task.timeout_ns):g} s"
    )


def heeded(heed: Heed) -> Ended:
    """How the planner's stop word ends the task."""
    how = stopped_by(heed.text, heed.stop)
    return replace(how, message=how.message.replace("somebody said", "the planner said", 1))


def name_of(line: str) -> str:
    """What a line about the table names."""
    return line.partition(":")[0].strip()


def _known(seen: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """The first line about each thing."""
    names = {name_of(line) for line in seen}
    return (*seen, *(line for line in now if name_of(line) not in names))[:MAX_SEEN]
