"""The setpoints of a plan against plain arithmetic, and the exact moments and sizes at which a chunk is refused."""

from dataclasses import replace

import numpy as np
import plain_motion as plain
import pytest
from plain_motion import BODY, HANDS, LINEAR, ROTATIONS

from vla_policy.execution.spline import ActionRates
from vla_policy.execution.timeline import (
    KEPT,
    Timeline,
    emptied,
    insert,
    queued_rows,
    running_at,
    setpoint,
    state_at,
    untimely,
)
from vla_policy.types import ActionChunk

MS = 1_000_000
STEP_NS = 100 * MS


def chunk_of(rows, obs_ms, sequence=0, step_ns=STEP_NS):
    return ActionChunk(np.array(rows), BODY.names, obs_ms * MS, step_ns, sequence, "go")


def rows_of(count, seed=0):
    return plain.rows_of(np.random.default_rng(seed), count)


def taken(timeline, chunk, now_ms, **options):
    timeline, reason = insert(timeline, chunk, now_ms * MS, rows_of(1)[0], BODY, **options)
    assert reason is None
    return timeline


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rested", [False, True])
def test_a_plan_is_its_curve_and_what_is_left_of_the_difference_to_the_arm(seed, rested):
    """With the arm at start lead_ns ago, moving on since; all of it in every column that is interpolated."""
    rng = np.random.default_rng(seed)
    start, *rows = plain.rows_of(rng, 6)
    linear = np.zeros((1, 20))
    linear[:, LINEAR] = rng.normal(0, 0.3, len(LINEAR))
    moving = ActionRates(linear, rng.normal(0, 0.3, (1, 2, 3)))
    chunk = chunk_of(rows, 1000)
    now_ns, lead_ns = 1000 * MS + int(rng.integers(-50 * MS, 350 * MS)), int(rng.integers(80 * MS))
    plan, reason = insert(
        Timeline(), chunk, now_ns, start, BODY, lead_ns=lead_ns, moving=moving, rested=rested
    )
    assert reason is None
    begin_ns = max(now_ns, chunk.obs_ns) if rested else chunk.obs_ns
    end_ns = plan.plan.end_ns
    assert plan.plan.begin_ns == begin_ns and end_ns == begin_ns + 5 * STEP_NS
    lead = lead_ns / STEP_NS
    ahead = np.linspace(now_ns - 20 * MS, end_ns - 1, 40).astype(int)
    for ns in (*ahead, now_ns + STEP_NS - 1, now_ns + STEP_NS, now_ns + STEP_NS + 1):
        if ns >= end_ns:
            continue
        values, rates = state_at(plan, int(ns), BODY)
        share = min(max((ns - now_ns) / STEP_NS, 0.0), 1.0)
        for c in LINEAR:
            column = [r[c] for r in rows]
            there, speed = plain.path(start[c], column, (ns - begin_ns) / STEP_NS)
            first, first_speed = plain.path(start[c], column, (now_ns - begin_ns) / STEP_NS)
            gap = start[c] + lead * linear[0, c] - first
            left, fades = plain.cubic(gap, 0.0, linear[0, c] - first_speed, 0.0, share)
            assert values[c] == pytest.approx(there + left, abs=1e-9)
            assert rates.linear[0, c] == pytest.approx(speed + fades, abs=1e-9)
    for i, q in enumerate(ROTATIONS):
        here = plain.exp_matrix(lead * moving.turning[0, i]) @ plain.matrix_of(start[q])
        values, rates = state_at(plan, now_ns, BODY)
        assert plain.matrix_of(values[q]) == pytest.approx(here, abs=1e-9)
        assert rates.turning[0, i] == pytest.approx(moving.turning[0, i], abs=1e-9)


def test_an_arm_whose_motion_is_not_told_moves_like_the_old_plan_or_rests():
    old = taken(Timeline(), chunk_of(rows_of(6), 1000), 1000)
    new = taken(old, chunk_of(rows_of(6, 1), 1100, 1), 1350)
    assert state_at(new, 1350 * MS, BODY)[1].linear == pytest.approx(
        state_at(old, 1350 * MS, BODY)[1].linear
    )
    assert state_at(new, 1350 * MS, BODY)[1].turning == pytest.approx(
        state_at(old, 1350 * MS, BODY)[1].turning
    )
    first = taken(Timeline(), chunk_of(rows_of(6, 1), 1100, 1), 1350)
    rates = state_at(first, 1350 * MS, BODY)[1]
    assert rates.linear == pytest.approx(np.zeros((1, 20)))
    assert rates.turning == pytest.approx(np.zeros((1, 2, 3)), abs=1e-12)
    told = ActionRates(np.full((1, 20), 0.2) * np.isin(range(20), LINEAR), np.full((1, 2, 3), 0.1))
    again = taken(old, chunk_of(rows_of(6, 1), 1100, 1), 1350, moving=told)
    assert state_at(again, 1350 * MS, BODY)[1].linear == pytest.approx(told.linear)


def test_a_robot_that_rested_begins_with_the_first_row_whenever_the_chunk_comes():
    for now_ms, begin_ms in ((999, 1000), (1000, 1000), (1001, 1001), (1777, 1777)):
        plan = taken(Timeline(), chunk_of(rows_of(3), 1000), now_ms, rested=True)
        assert (plan.plan.begin_ns, plan.floor_ns) == (begin_ms * MS, 1000 * MS)
        assert queued_rows(plan, now_ms * MS) == 3


def test_a_whole_plan_is_followed_to_the_end_of_its_last_row_and_other_reasons_come_first():
    plan = taken(Timeline(), chunk_of(rows_of(3), 1000, sequence=5), 1000)
    later = chunk_of(rows_of(3), 1299, sequence=6)
    for new, now_ms, code in (
        (later, 1299, "chunk_early"),
        (later, 1300, None),
        (replace(later, obs_ns=1000 * MS), 1299, "chunk_duplicate"),
    ):
        after, reason = insert(plan, new, now_ms * MS, rows_of(1)[0], BODY, whole=True)
        assert (None if reason is None else reason.code) == code
        assert (after is plan) == (code is not None)


@pytest.mark.parametrize(
    ("obs_ms", "now_ms", "code", "told"),
    [
        (1152, 1050, "chunk_future", "0.102 s ahead"),
        (880, 1050, "chunk_old", "0.120 s before"),
        (1001, 1350, "chunk_late", "0.349 s old"),
    ],
)
def test_a_reason_says_by_how_much(obs_ms, now_ms, code, told):
    plan = taken(Timeline(), chunk_of(rows_of(3), 1000), 1000)
    reason = untimely(plan, chunk_of(rows_of(3), obs_ms, 1), now_ms * MS)
    assert reason.code == code and told in reason.detail


def test_a_chunk_is_late_from_the_nanosecond_on_at_which_its_last_row_ends():
    chunk = chunk_of(rows_of(3), 1000)
    assert untimely(Timeline(), chunk, 1300 * MS - 1) is None
    assert untimely(Timeline(), chunk, 1300 * MS).code == "chunk_late"


def test_the_floor_never_sinks():
    """A chunk may be of a moment a little ahead of the clock; no older one is taken after it, plan or not."""
    plan = taken(Timeline(), chunk_of(rows_of(3), 1080), 1000)
    assert emptied(plan, 1050 * MS).floor_ns == 1080 * MS
    assert emptied(plan, 1200 * MS).floor_ns == 1200 * MS - 1
    assert emptied(Timeline(), 1200 * MS).floor_ns == 1200 * MS - 1
    twice = emptied(emptied(plan, 1200 * MS), 1100 * MS)
    assert untimely(twice, chunk_of(rows_of(3), 1150, 1), 1210 * MS).code == "chunk_old"


def test_without_a_plan_there_is_nothing_to_follow():
    assert setpoint(Timeline(), 0, BODY) is None
    assert (queued_rows(Timeline(), 0), running_at(Timeline(), 0), Timeline().chunk) == (
        0,
        None,
        None,
    )


def test_a_plan_runs_until_its_last_row_is_reached():
    timeline = taken(Timeline(), chunk_of(rows_of(3), 1000), 1000)
    assert timeline.plan.end_ns == 1300 * MS
    assert running_at(timeline, 1300 * MS - 1) is timeline.plan
    assert running_at(timeline, 1300 * MS) is None


def test_earlier_chunks_are_kept_while_they_have_a_row_beyond_the_new_beginning():
    def kept(*chunks):
        timeline = Timeline()
        for sequence, (obs_ms, rows) in enumerate(chunks):
            timeline = taken(timeline, chunk_of(rows_of(rows), obs_ms, sequence), obs_ms)
        assert all(ns == chunk.obs_ns for ns, chunk in timeline.kept)
        return [chunk.sequence for _, chunk in timeline.kept]

    assert kept((1000, 3)) == []
    assert kept((1000, 3), (1299, 3)) == [0]
    assert kept((1000, 3), (1300, 3)) == []
    # A long one outlives short ones that came later, and these take no place from it.
    assert kept((1000, 50), *((1100 + 100 * k, 1) for k in range(12)), (2300, 5)) == [0]
    many = [(1000 + 50 * k, 20) for k in range(15)]
    assert kept(*many) == list(range(14 - KEPT, 14))


def test_hands_and_lengths_of_rotations_are_those_of_the_row_that_is_pursued():
    rows = rows_of(4)
    plan = taken(Timeline(), chunk_of(rows, 1000), 1000)
    for k in range(4):
        for ns in (k * STEP_NS, k * STEP_NS + STEP_NS - 1):
            values = setpoint(plan, 1000 * MS + ns, BODY)
            assert values[HANDS].tolist() == rows[k, HANDS].tolist()
            for q in ROTATIONS:
                assert np.linalg.norm(values[q]) == pytest.approx(1.0, abs=1e-12)
