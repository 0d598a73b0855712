"""How a run ends, as a table of what was heard and when. Times in s."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.runtime.task import (
    Outcome,
    Status,
    TaskRun,
    Timeouts,
    ending,
    refuse_start,
    with_chunk,
    with_clock,
    with_status,
)
from vla_policy.types import ActionChunk, Level

BOUNDS = Timeouts(first_chunk_s=10.0, chunk_gap_s=3.0, hold_s=3.0, status_s=2.0)
T0 = 1000.0


def ns(time_s):
    return round(time_s * 1e9)


def status(level=Level.PASS, reason="", detail="", *, engaged=True, at=T0):
    return Status(engaged, level, reason, detail, 5, ns(at))


def started():
    return TaskRun("pick it up", ns(T0), ns(30.0), ns(T0), status())


def chunk(*, terminate=False, obs=T0, instruction="pick it up"):
    actions = np.zeros((1, 1))
    return ActionChunk(actions, ("a",), ns(obs), ns(0.1), 0, instruction, "a plan", terminate)


def heard(run, at, **fields):
    return with_chunk(run, chunk(obs=at - 0.2, **fields), ns(at), ns(at))


def outcome(run, at):
    how = ending(run, BOUNDS, ns(at), ns(at))
    return None if how is None else how.outcome


def kept_alive(run, at):
    return with_status(run, status(at=at))


def test_two_chunks_in_a_row_must_say_terminate():
    run = heard(started(), T0 + 1, terminate=True)
    assert outcome(run, T0 + 1) is None
    run = heard(run, T0 + 1.4)
    run = heard(run, T0 + 1.8, terminate=True)
    assert outcome(run, T0 + 1.8) is None
    run = heard(run, T0 + 2.0, terminate=True)
    assert outcome(run, T0 + 2.0) is Outcome.DONE
    assert (run.chunks, run.plan) == (4, "a plan")
    assert run.latency_s == pytest.approx(0.2)


def test_chunks_of_another_instruction_or_an_older_image_do_not_count():
    run = started()
    assert with_chunk(run, chunk(instruction="drop it", obs=T0 + 1), ns(T0 + 1), ns(T0 + 1)) is run
    assert with_chunk(run, chunk(obs=T0 - 0.01), ns(T0 + 1), ns(T0 + 1)) is run


@pytest.mark.parametrize(
    ("at", "expected"), [(29.9, None), (30.0, Outcome.TIMEOUT), (-0.1, Outcome.STALE)]
)
def test_time_limit(at, expected):
    run = replace(started(), heard_steady_ns=ns(T0 + at), chunks=1)
    assert outcome(kept_alive(run, T0 + at), T0 + at) is expected


@pytest.mark.parametrize(
    ("at", "expected"), [(9.9, None), (10.1, Outcome.STALE)], ids=["patient", "silent"]
)
def test_the_first_chunk_may_take_longer(at, expected):
    assert outcome(kept_alive(started(), T0 + at), T0 + at) is expected


def test_a_policy_that_falls_silent():
    run = heard(started(), T0 + 1)
    assert outcome(kept_alive(run, T0 + 3.9), T0 + 3.9) is None
    how = ending(kept_alive(run, T0 + 4.1), BOUNDS, ns(T0 + 4.1), ns(T0 + 4.1))
    assert how.outcome is Outcome.STALE
    assert "3 s" in how.message


def test_a_control_node_that_falls_silent():
    run = heard(kept_alive(started(), T0 + 1), T0 + 3)
    assert outcome(run, T0 + 3.0) is None
    assert outcome(run, T0 + 3.1) is Outcome.STALE


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stale_camera", Outcome.STALE),
        ("clock_stopped", Outcome.STALE),
        ("no_chunk", Outcome.STALE),
        ("workspace_far", Outcome.STOPPED),
        ("start_jump", Outcome.STOPPED),
    ],
)
def test_a_hold_that_lasts(reason, expected):
    run = heard(started(), T0 + 1)
    for at in (1.0, 2.0, 3.0, 3.9):
        run = heard(with_status(run, status(Level.HOLD, reason, "why", at=T0 + at)), T0 + at)
        assert outcome(run, T0 + at) is None
    run = heard(with_status(run, status(Level.HOLD, reason, "why", at=T0 + 4.1)), T0 + 4.1)
    how = ending(run, BOUNDS, ns(T0 + 4.1), ns(T0 + 4.1))
    assert how.outcome is expected
    assert "why" in how.message


@pytest.mark.parametrize(
    ("reason", "ends_s"), [("stale_chunk", 15.0), ("no_chunk", 15.0), ("stale_camera", 3.0), ("workspace_far", 3.0)]
)  # fmt: skip
def test_a_policy_that_may_be_silent_for_longer_is_waited_for_and_nothing_else_is(reason, ends_s):
    patient = replace(BOUNDS, chunk_gap_s=15.0)
    run, began = heard(started(), T0 + 1), T0 + 2.2

    def how(at):
        held = with_status(run, status(Level.HOLD, reason, "why", at=began))
        return ending(with_status(held, status(Level.HOLD, reason, "why", at=at)), patient, ns(at), ns(at))  # fmt: skip

    assert how(began + ends_s - 1.3) is None
    assert how(began + ends_s + 0.1) is not None


def test_a_short_hold_does_not_add_up():
    run = heard(started(), T0 + 1)
    for at in range(1, 12):
        level = Level.HOLD if at % 2 else Level.PASS
        run = heard(with_status(run, status(level, "stale_camera", at=T0 + at)), T0 + at)
        assert outcome(run, T0 + at) is None


def test_waiting_for_the_first_chunk_is_no_hold():
    run = started()
    for at in range(1, 9):
        run = with_status(run, status(Level.HOLD, "no_chunk", at=T0 + at))
        assert outcome(run, T0 + at) is None


def test_a_stop_or_disengage_ends_the_run_at_once():
    stopped = with_status(started(), status(Level.STOP, "operator_stop", "by hand", engaged=False))
    how = ending(stopped, BOUNDS, ns(T0), ns(T0))
    assert how.outcome is Outcome.STOPPED
    assert "by hand" in how.message
    idle = with_status(started(), status(Level.HOLD, "disengaged", engaged=False))
    assert outcome(idle, T0) is Outcome.STOPPED


@pytest.mark.parametrize(
    ("instruction", "heard_status", "words"),
    [
        ("pick it up", status(), None),
        ("pick it up", status(Level.HOLD, "no_chunk"), None),
        ("", status(), "empty"),
        ("pick it up", None, "not been heard"),
        ("pick it up", status(at=T0 - 2.1), "not heard any more"),
        ("pick it up", status(Level.STOP, "operator_stop", "by hand"), "by hand; reset it first"),
        ("pick it up", status(Level.HOLD, "disengaged", engaged=False), "engage it first"),
        ("pick it up", status(Level.HOLD, "stale_camera", "front is old"), "front is old"),
        ("pick it up", status(Level.HOLD, "inactive", "no limits", engaged=False), "no limits"),
    ],
)
def test_start(instruction, heard_status, words):
    problem = refuse_start(instruction, heard_status, BOUNDS, ns(T0))
    if words is None:
        assert problem is None
    else:
        assert words in problem


@pytest.mark.parametrize("mode", ["paused", "teleoperated"])
def test_a_run_goes_on_while_a_person_has_taken_over_or_paused(mode):
    run = heard(started(), T0 + 1, terminate=True)
    for at in np.arange(T0 + 1, T0 + 10, 0.2):
        run = with_status(run, replace(status(Level.HOLD, mode, at=at), mode=mode))
        run = heard(run, at, terminate=True)
        assert outcome(run, at) is None
    assert outcome(run, T0 + 30) is Outcome.TIMEOUT
    # Handed back: what the policy says and does not say counts from then on.
    run = with_status(run, status(Level.HOLD, "no_chunk", at=T0 + 10))
    assert outcome(run, T0 + 10.1) is None
    run = heard(run, T0 + 11, terminate=True)
    assert outcome(run, T0 + 11) is None
    run = heard(run, T0 + 11.4, terminate=True)
    assert outcome(run, T0 + 11.4) is Outcome.DONE


def test_a_robot_that_is_disengaged_or_stopped_while_a_person_drives_ends_the_run():
    driven = replace(status(at=T0 + 1), mode="teleoperated")
    run = with_status(started(), replace(driven, engaged=False, level=Level.HOLD))
    assert outcome(run, T0 + 1) is Outcome.STOPPED
    run = with_status(started(), replace(driven, level=Level.STOP))
    assert outcome(run, T0 + 1) is Outcome.STOPPED


def test_the_time_limit_begins_when_the_clock_has_a_time():
    run = replace(started(), started_ns=0)
    assert outcome(run, T0 + 1) is Outcome.TIMEOUT, "what would end at once"
    for now_ns, begins_ns in ((0, 0), (ns(T0 + 5), ns(T0 + 5)), (ns(T0 + 6), ns(T0 + 5))):
        run = with_clock(run, now_ns)
        assert run.started_ns == begins_ns
    run = kept_alive(heard(run, T0 + 34), T0 + 34)
    assert outcome(run, T0 + 34.9) is None and outcome(run, T0 + 35) is Outcome.TIMEOUT
