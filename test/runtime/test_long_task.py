"""What follows what in a long task, as a table of answers and endings. Times in s."""

from dataclasses import replace

import pytest

from vla_policy.runtime import long_task
from vla_policy.runtime.instruction import Stop
from vla_policy.runtime.long_task import Follow, Heed, LongBounds
from vla_policy.runtime.planning import Answered, PlanAnswer
from vla_policy.runtime.task import Ended, Outcome, Status, Timeouts
from vla_policy.types import Level

BOUNDS = LongBounds(subtasks=4, tries=2, subtask_s=10.0, think_s=5.0)
T0 = 1000.0
RED, BLUE = "put the red cube in the tray", "put the blue ball in the tray"


def ns(time_s):
    return round(time_s * 1e9)


def begun(**fields):
    task = long_task.begin("clear the table", ns(T0), ns(100.0), ns(30.0), ns(T0))
    return replace(task, **fields)


def answer(task, kind, text="", at=T0, seen=()):
    asked = long_task.asked(task)
    return long_task.answered(asked, PlanAnswer(kind, text, seen), BOUNDS, ns(at))


def ended(task, text, outcome=Outcome.DONE, at=T0):
    return long_task.subtask_ended(task, text, Ended(outcome, "why"), 3, ns(at), ns(at))


def followed(task, text, outcome=Outcome.DONE):
    """The task after the planner said text, and that sub-task ended so."""
    task, step = answer(task, Answered.NEXT, text)
    assert step == Follow(text, ns(10.0))
    return ended(task, text, outcome)


def test_sub_tasks_one_after_the_other_until_the_planner_reports_the_end():
    task = followed(followed(begun(), RED), BLUE, Outcome.TIMEOUT)
    assert [(past.subtask, past.outcome) for past in task.request.done] == [
        (RED, "DONE"),
        (BLUE, "TIMEOUT"),
    ]
    task, how = answer(task, Answered.FINISHED, "all is in the tray")
    assert how.outcome is Outcome.DONE
    assert "2 sub-tasks" in how.message and "all is in the tray" in how.message
    assert "verified" in how.message and task.chunks == 6


def test_the_next_look_waits_until_what_was_released_rests():
    task = followed(begun(), RED)
    soon = T0 + long_task.SETTLE_S
    assert not long_task.is_due(task, ns(soon) - 1) and long_task.is_due(task, ns(soon))
    assert not long_task.is_due(long_task.asked(task), ns(soon + 9)), "asked twice"


def test_the_same_sub_task_is_tried_again_then_planned_anew_then_given_up():
    task = begun()
    for _ in range(BOUNDS.tries):
        task = followed(task, RED, Outcome.TIMEOUT)
    task, step = answer(task, Answered.NEXT, RED.upper())  # however it is written
    assert step is None and task.request.given_up == (RED.upper(),)
    assert long_task.is_due(task, ns(T0)), "asked again at once"
    _, step = answer(task, Answered.NEXT, BLUE)
    assert isinstance(step, Follow), "another way is taken"
    _, how = answer(task, Answered.NEXT, RED)
    assert how.outcome is Outcome.REFUSED and "2 times" in how.message and RED in how.message


def test_a_task_has_a_greatest_number_of_sub_tasks():
    task = begun()
    for number in range(BOUNDS.subtasks):
        task = followed(task, f"put thing {'abcd'[number]} away")
    _, how = answer(task, Answered.NEXT, "and another one")
    assert how.outcome is Outcome.TIMEOUT and "4 sub-tasks" in how.message


@pytest.mark.parametrize(
    "outcome", sorted(set(Outcome) - set(long_task.GOES_ON)), ids=lambda outcome: outcome.name
)
def test_what_robot_or_person_ended_ends_the_whole(outcome):
    how = ended(begun(), RED, outcome)
    assert isinstance(how, Ended) and how.outcome is outcome and RED in how.message


def test_the_last_sub_task_gets_what_is_left_of_the_time():
    _, step = answer(begun(), Answered.NEXT, RED, at=T0 + 97)
    assert step == Follow(RED, ns(3.0))


def test_what_is_no_long_task_is_followed_as_it_is_with_its_own_time():
    _, step = answer(begun(), Answered.DIRECT)
    assert step == Follow("clear the table", ns(30.0), direct=True)
    _, how = answer(followed(begun(), RED), Answered.DIRECT)
    assert how.outcome is Outcome.STALE, "only before the first sub-task"


@pytest.mark.parametrize(
    ("kind", "outcome"), [(Answered.CANNOT, Outcome.REFUSED), (Answered.FAILED, Outcome.STALE)]
)
def test_a_planner_that_gives_up_or_fails_ends_the_task_with_its_sentence(kind, outcome):
    _, how = answer(begun(), kind, "no way")
    assert how.outcome is outcome and "no way" in how.message


@pytest.mark.parametrize(
    ("said", "stop"), [("STOP!", Stop.LATCH), ("please halt the robot", Stop.LATCH), ("never mind", Stop.END)]
)  # fmt: skip
def test_a_stop_word_of_the_planner_is_heeded_like_a_persons(said, stop):
    _, step = answer(begun(), Answered.NEXT, said)
    assert step == Heed(said, stop)
    how = long_task.heeded(step)
    assert how.outcome is Outcome.STOPPED and "the planner said" in how.message


@pytest.mark.parametrize("said", ["", "  ", "x" * 201, "put it\x1b[2J away", "12345"])
def test_words_that_are_no_instruction_move_nothing(said):
    _, how = answer(begun(), Answered.NEXT, said)
    assert how.outcome is Outcome.REFUSED and "sub-task" in how.message


def status(level=Level.HOLD, reason="no_chunk", *, engaged=True, at=T0):
    return Status(engaged, level, reason, "because", 0, ns(at))


@pytest.mark.parametrize(
    ("heard", "at", "expected", "words"),
    [
        (status(), T0 + 4.9, None, ""),
        (status(at=T0 + 5), T0 + 5.1, Outcome.STALE, "within 5 s: no image"),
        (status(Level.STOP, "operator_stop"), T0, Outcome.STOPPED, "because"),
        (status(engaged=False, reason="disengaged"), T0, Outcome.STOPPED, "disengaged"),
        (status(at=T0 - 3), T0, Outcome.STALE, "control node"),
        (status(at=T0 + 100), T0 + 100, Outcome.TIMEOUT, "100 s"),
        (status(at=T0 - 1), T0 - 1, Outcome.STALE, "clock"),
    ],
)
def test_how_it_ends_while_the_planner_thinks(heard, at, expected, words):
    task = replace(begun(), missing="no image")
    how = long_task.over(task, heard, Timeouts(status_s=5.0 if expected is None else 2.0), BOUNDS, ns(at), ns(at))  # fmt: skip
    assert (how is None) == (expected is None)
    if how is not None:
        assert how.outcome is expected and words in how.message


def test_without_an_image_the_planner_is_asked_again_in_a_moment():
    task, step = answer(begun(), Answered.NOT_READY, "front is missing")
    assert step is None and task.missing == "front is missing"
    assert not long_task.is_due(task, ns(T0)) and long_task.is_due(task, ns(T0 + 0.3))
    assert task.due_ns == ns(T0), "older images do not count later either"


def test_what_was_seen_first_stays_and_new_things_come_to_it():
    task, _ = answer(begun(), Answered.NEXT, RED, seen=("red cube: table", "blue ball: pad"))
    task, _ = answer(task, Answered.NEXT, RED, seen=("red cube: tray", "green can: table"))
    assert task.request.seen == ("red cube: table", "blue ball: pad", "green can: table")


def test_the_time_begins_when_the_clock_has_one():
    task = long_task.begin("clear the table", 0, ns(100.0), ns(30.0), ns(T0))
    task = long_task.with_clock(long_task.with_clock(task, 0), ns(T0))
    assert long_task.late(task, ns(T0 + 99)) is None
    assert long_task.late(task, ns(T0 + 100)).outcome is Outcome.TIMEOUT
