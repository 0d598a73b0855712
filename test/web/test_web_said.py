"""The page's instructions: each ends with its own outcome, and is judged by its own verdict alone."""

from __future__ import annotations

from vla_policy.web import instructions

LOG = instructions.given(
    instructions.given((), "a", "pick up the cube", 100), "b", "pick up the ball", 200
)


def test_an_outcome_belongs_to_its_id():
    log = instructions.ended(LOG, "a", "preempted", "another instruction took over")
    log = instructions.progressed(log, "b", "following")
    assert [(e.outcome, e.message) for e in log] == [
        ("preempted", "another instruction took over"),
        ("", "following"),
    ]


def test_what_is_late_does_not_change_how_an_instruction_ended():
    log = instructions.ended(LOG, "b", "unanswered", "no answer of the task node")
    for late in (
        instructions.ended(log, "b", "done", "x"),
        instructions.progressed(log, "b", "following"),
    ):
        assert late == log


def test_an_unknown_id_changes_nothing():
    assert instructions.ended(LOG, "c", "done", "x") == LOG


def test_the_same_words_twice_are_two_instructions():
    log = instructions.given(
        instructions.ended(LOG, "b", "done", "x"), "c", "pick up the ball", 300
    )
    log = instructions.ended(log, "c", "timeout", "not done within 30 s")
    assert [e.outcome for e in log] == ["", "done", "timeout"]


def test_a_verdict_is_of_the_newest_instruction_with_its_words_and_since_it_was_given():
    assert instructions.judged(LOG, "pick up the cube", True, 250) == LOG, "another task"
    assert instructions.judged(LOG, "pick up the ball", True, 199) == LOG, (
        "seen before it was given"
    )
    assert instructions.judged((), "pick up the ball", True, 250) == ()
    log = instructions.judged(LOG, "pick up the ball", False, 250)
    assert [e.verdict for e in log] == [None, False]
    log = instructions.judged(log, "pick up the ball", True, 260)
    assert [e.verdict for e in instructions.judged(log, "pick up the ball", False, 270)] == [
        None,
        True,
    ]


def test_after_the_end_only_a_success_is_still_seen():
    log = instructions.ended(LOG, "b", "done", "x")
    assert instructions.judged(log, "pick up the ball", False, 250) == log
    assert instructions.judged(log, "pick up the ball", True, 250)[-1].verdict is True


def test_the_reason_of_a_rejected_goal_may_come_before_or_after_the_rejection():
    first = instructions.rejected(
        instructions.explained(LOG, "pick up the ball", "no camera"), "b"
    )
    then = instructions.explained(instructions.rejected(LOG, "b"), "pick up the ball", "no camera")
    for log in (first, then):
        assert [(e.outcome, e.message) for e in log] == [
            ("", LOG[0].message),
            ("refused", "no camera"),
        ]
    assert instructions.rejected(LOG, "b")[-1].message == instructions.NO_REASON


def test_the_reason_of_another_instruction_is_not_taken():
    assert instructions.explained(LOG, "pick up the fork", "no camera") == LOG
    log = instructions.rejected(instructions.explained(LOG, "pick up the cube", "no camera"), "b")
    assert log[-1].message == instructions.NO_REASON
    log = instructions.given(
        instructions.ended(LOG, "b", "done", "x"), "c", "pick up the ball", 300
    )
    log = instructions.rejected(instructions.explained(log, "pick up the ball", "no camera"), "c")
    assert [e.message for e in log[1:]] == ["x", "no camera"]
    # One that is followed all the same ends as it ends.
    log = instructions.ended(
        instructions.explained(LOG, "pick up the ball", "no camera"), "b", "timeout", "y"
    )
    assert (log[-1].outcome, log[-1].message) == ("timeout", "y")


def test_few_are_kept_and_told_as_json_values():
    log: instructions.Log = ()
    for count in range(3 * instructions.KEPT):
        log = instructions.given(log, str(count), "words", count)
    assert len(log) == instructions.KEPT and instructions.told(log)[-1]["id"] == str(
        3 * instructions.KEPT - 1
    )
