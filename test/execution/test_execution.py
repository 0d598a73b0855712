"""Schemes, continuation and pace: what becomes of the old plan when a chunk comes. Times in ms, places in mm."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.execution.replanning import (
    NOTHING,
    Delays,
    Executing,
    measured,
    next_observation_ns,
    plan_continuation,
    replan_interval_rows,
    truncated,
)
from vla_policy.execution.resampling import aligned
from vla_policy.execution.schemes import SCHEMES
from vla_policy.execution.timeline import Timeline, insert, setpoint
from vla_policy.types import ActionChunk

MS = 1_000_000
ARM = layout_of(load_embodiment("vx300s"))


def chunk(x, *, obs_ms, sequence, gripper=1.0, turn=0.0, continues=None):
    """Rows at x along one axis, turned about the vertical, gripper one value or one per row."""
    rows = np.zeros((len(x), 8))
    rows[:, 0] = x
    rows[:, 5], rows[:, 6] = np.sin(turn / 2), np.cos(turn / 2)
    rows[:, 7] = gripper
    return ActionChunk(
        rows, ARM.names, obs_ms * MS, 100 * MS, sequence, "do it", continues=continues
    )


def follow(scheme, arrivals):
    """The timeline after chunks came at their times; the reason of the last one."""
    rule = SCHEMES[scheme]
    timeline, reason = Timeline(), None
    for now_ms, new in arrivals:
        stands = setpoint(timeline, now_ms * MS, ARM)
        stands = chunk([0.0], obs_ms=0, sequence=0).actions[0] if stands is None else stands
        timeline, reason = insert(
            timeline, new, now_ms * MS, stands, ARM, merge=rule.merge, whole=rule.whole
        )
    return timeline, reason


def rows_from(timeline, obs_ms, count):
    """Where the setpoint is at the end of each row, a moment before the next one is pursued."""
    return np.array(
        [setpoint(timeline, (obs_ms + 100 * (k + 1)) * MS - 1, ARM) for k in range(count)]
    )


OLD = chunk(np.arange(1, 9) * 10.0, obs_ms=1000, sequence=0)  # 10 .. 80
NEW = chunk(np.arange(5, 13) * 10.0 + 8.0, obs_ms=1400, sequence=1)  # 8 further at each time


@pytest.mark.parametrize(
    ("scheme", "over"),
    [
        # At 1600 the old plan has rows 6 .. 8 left (1700, 1800 ...), two of the new one's are over.
        ("receding", [8, 8, 8, 8]),
        ("average", [5.6, 5.6, 8, 8]),
        ("ensemble", [4 - 0.02, 4 - 0.02, 8, 8]),  # exp(-0.01) less for the younger one
        ("blend", [8 / 3, 16 / 3, 8, 8]),
        ("rtc", [8 / 3, 16 / 3, 8, 8]),  # it was not made as a continuation
    ],
)
def test_what_becomes_of_the_rest_of_the_old_plan(scheme, over):
    timeline, reason = follow(scheme, [(1000, OLD), (1600, NEW)])
    assert reason is None
    found = rows_from(timeline, 1400, 6)[2:, 0] - np.arange(7, 11) * 10.0
    assert found == pytest.approx(over, abs=0.01)


def test_a_chunk_that_continues_the_plan_is_taken_as_it_is():
    timeline, _ = follow("rtc", [(1000, OLD), (1600, replace(NEW, continues=0))])
    assert rows_from(timeline, 1400, 6)[2:, 0] == pytest.approx(np.arange(7, 11) * 10.0 + 8.0)
    timeline, _ = follow("rtc", [(1000, OLD), (1600, replace(NEW, continues=7))])
    assert rows_from(timeline, 1400, 6)[2, 0] == pytest.approx(70.0 + 8 / 3, abs=0.01)


def test_open_loop_takes_no_chunk_before_the_end():
    timeline, reason = follow("open_loop", [(1000, OLD), (1600, NEW)])
    assert reason.code == "chunk_early" and timeline.chunk is OLD
    timeline, reason = follow("open_loop", [(1000, OLD), (1800, replace(NEW, obs_ns=1750 * MS))])
    assert reason is None


@pytest.mark.parametrize("scheme", ["average", "ensemble", "blend"])
def test_a_gripper_is_never_between_what_the_chunks_say(scheme):
    closing = [1.0] * 4 + [
        0.0
    ] * 4  # the old plan closes at 1400 + 0, the new one half a second later
    old = chunk(np.arange(8.0), obs_ms=1000, sequence=0, gripper=closing)
    new = chunk(np.arange(4.0, 12.0), obs_ms=1400, sequence=1, gripper=[1.0] * 5 + [0.0] * 3)
    timeline, _ = follow(scheme, [(1000, old), (1500, new)])
    found = rows_from(timeline, 1400, 8)[1:, 7]
    assert set(found) <= {0.0, 1.0}
    assert found[-1] == 0.0 and found[4] == 0.0


def test_chatter_of_a_gripper_below_the_band_is_left_out():
    old = chunk(np.arange(8.0), obs_ms=1000, sequence=0, gripper=0.9)
    shaky = [0.85, 0.95, 0.82, 0.98, 0.9, 0.3, 0.32, 0.28]
    new = chunk(np.arange(4.0, 12.0), obs_ms=1400, sequence=1, gripper=shaky)
    timeline, _ = follow("blend", [(1000, old), (1500, new)])
    assert rows_from(timeline, 1400, 8)[1:, 7].tolist() == [0.9, 0.9, 0.9, 0.9, 0.3, 0.3, 0.3]


def test_an_ensemble_votes_on_the_gripper():
    said = (0.0, 1.0, 1.0)
    arrivals = [
        (1000 + 100 * i, chunk(np.arange(8.0), obs_ms=1000 + 100 * i, sequence=i, gripper=g))
        for i, g in enumerate(said)
    ]
    timeline, _ = follow("ensemble", arrivals)
    assert rows_from(timeline, 1200, 3)[:, 7].tolist() == [1.0, 1.0, 1.0]
    timeline, _ = follow("ensemble", arrivals[:2])
    assert rows_from(timeline, 1100, 3)[:, 7].tolist() == [0.0, 0.0, 0.0], "the older one has more"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=10), st.integers(0, 900))
def test_an_aligned_plan_is_where_the_arm_will_be(x, late_ms):
    """Against the timeline itself, which executes the chunk; at any phase, not only at whole rows."""
    plan = chunk(x, obs_ms=1000, sequence=3)
    timeline, _ = follow("receding", [(1000, plan)])
    left = aligned(plan, (1000 + late_ms) * MS, ARM)
    count = int(len(x) - late_ms / 100 + 1e-9)
    if count < 1:
        assert left is None
        return
    assert len(left.actions) == count and left.obs_ns == (1000 + late_ms) * MS
    for k, row in enumerate(left.actions):
        at = setpoint(timeline, (1000 + late_ms + 100 * (k + 1)) * MS - 1, ARM)
        assert row[:3] == pytest.approx(at[:3], abs=1e-5)
        assert row[7] == at[7]


def test_a_gripper_row_stays_in_its_time_when_a_plan_is_aligned():
    plan = chunk(np.arange(6.0), obs_ms=1000, sequence=0, gripper=[1, 1, 1, 0, 0, 0])
    assert aligned(plan, 1200 * MS, ARM).actions[:, 7].tolist() == [1, 0, 0, 0]
    assert aligned(plan, 1250 * MS, ARM).actions[:, 7].tolist() == [0, 0, 0]
    assert aligned(plan, 1600 * MS, ARM) is None and aligned(plan, 999 * MS, ARM) is None


@pytest.mark.parametrize(
    ("late_ns", "rows"),
    [
        (0, 6), (1, 6), (99, 6),  # a stamp that is off by nanoseconds costs no row
        (50_000, 5), (100 * MS, 5), (100 * MS + 1, 5), (599 * MS, 0), (600 * MS, 0),
        (500 * MS, 1), (500 * MS + 50_000, 0),
    ],
)  # fmt: skip
def test_what_is_left_of_a_plan_are_its_whole_rows(late_ns, rows):
    plan = chunk(np.arange(6.0), obs_ms=1000, sequence=0, gripper=[1, 0, 1, 0, 1, 0])
    left = aligned(plan, 1000 * MS + late_ns, ARM)
    assert (0 if left is None else len(left.actions)) == rows
    if left is not None and late_ns < 1000:
        assert left.actions[:, 7].tolist() == [1, 0, 1, 0, 1, 0]


def test_one_row_is_continued_as_a_stand():
    left = aligned(chunk([3.0], obs_ms=1000, sequence=0), 1000 * MS, ARM)
    assert left.actions[:, 0].tolist() == [3.0]


@pytest.mark.parametrize(
    ("late_ms", "first"), [(0, 0), (40, 0), (60, 1), (200, 2), (240, 2), (260, 3), (500, 5)]
)
def test_what_the_model_said_is_that_of_the_nearest_row(late_ms, first):
    said = np.arange(12.0).reshape(6, 2)
    plan = replace(chunk(np.arange(6.0), obs_ms=1000, sequence=0), model_actions=said)
    left = aligned(plan, (1000 + late_ms) * MS, ARM)
    assert left.model_actions.tolist() == said[first : first + len(left.actions)].tolist()
    assert len(left.model_actions) == len(left.actions)


@pytest.mark.parametrize(
    ("delay_ms", "frozen", "guidance"),
    [(0, 0, 4), (100, 1, 4), (101, 2, 4), (350, 4, 4), (2000, 4, 4), (None, 0, 0)],
)
def test_frozen_are_the_rows_that_are_begun_when_the_chunk_comes(delay_ms, frozen, guidance):
    running = Executing(OLD, 1000 * MS, 1100 * MS)
    delay_ns = None if delay_ms is None else delay_ms * MS
    asked = plan_continuation(
        running, 1400 * MS, delay_ns=delay_ns, rows=8, execute_rows=4, layout=ARM
    )
    assert (asked.frozen_rows, asked.guidance_rows) == (frozen, guidance)
    assert (asked.previous is None) == (delay_ms is None)


@pytest.mark.parametrize(
    ("rows", "execute_rows", "frozen", "guidance"),
    [
        (8, 4, 1, 4),  # what is left guides, but no row that is decided by the chunk after it
        (8, 6, 1, 2),
        (8, 8, 1, 1),  # and never less than is frozen
        (8, 1, 1, 4),
        (3, 1, 1, 2),  # a chunk that is shorter than what is left
    ],
)
def test_the_rows_that_guide_end_before_those_of_the_next_chunk(
    rows, execute_rows, frozen, guidance
):
    running = Executing(OLD, 1000 * MS, 1100 * MS)
    asked = plan_continuation(
        running, 1400 * MS, delay_ns=50 * MS, rows=rows, execute_rows=execute_rows, layout=ARM
    )
    assert (asked.frozen_rows, asked.guidance_rows) == (frozen, guidance)


@pytest.mark.parametrize(
    ("rows", "asked", "between"),
    [(8, 0, 4), (9, 0, 4), (1, 0, 1), (2, 0, 1), (8, 3, 3), (1, 5, 5)],
)
def test_a_policy_looks_again_after_half_a_chunk_if_nothing_else_is_asked(rows, asked, between):
    assert replan_interval_rows(rows, asked) == between
    if asked == 0:
        assert replan_interval_rows(rows) == between


def test_the_expected_delay_is_the_longest_of_the_last_ten_without_the_first():
    delays = Delays()
    for delay_ns, expected in ((3000, None), (50, 50), (200, 200), *[(100, 200)] * 9, (90, 100)):
        delays = measured(delays, delay_ns)
        assert delays.expected_ns == expected
    warm = measured(measured(Delays(warm_up=2), 900), 800)
    assert (warm.expected_ns, measured(warm, 5).expected_ns) == (None, 5)


def test_what_is_continued_begins_where_the_plan_began_not_at_its_stamp():
    """The robot had rested: the rows are executed 150 ms after they were meant."""
    running = Executing(OLD, 1150 * MS, 1150 * MS)
    asked = plan_continuation(running, 1350 * MS, delay_ns=0, rows=8, execute_rows=4, layout=ARM)
    assert asked.previous.actions[:, 0] == pytest.approx(np.arange(3, 9) * 10.0)


def test_nothing_is_continued_without_a_plan():
    over = Executing(OLD, 1000 * MS, 1100 * MS)
    for running, obs_ms in ((None, 1400), (over, 1800)):
        asked = plan_continuation(
            running, obs_ms * MS, delay_ns=0, rows=8, execute_rows=4, layout=ARM
        )
        assert asked is NOTHING


def test_when_to_look_again():
    running = Executing(OLD, 1050 * MS, 1050 * MS)

    def look(scheme, delay_ms, executing=running):
        at_ns = next_observation_ns(
            scheme, 1000 * MS, 100 * MS, 4, executing=executing, delay_ns=delay_ms * MS
        )
        return at_ns / MS

    assert look("rtc", 300) == look("receding", 0) == 1400
    assert look("open_loop", 50) == 1850  # the end of its 8 rows
    assert look("open_loop", 300) == 2050  # ... and seen at rest
    assert look("open_loop", 300, None) == 1400
    assert len(truncated(OLD, "open_loop", 4).actions) == 4
    assert truncated(OLD, "rtc", 4) is OLD
    assert look("open_loop", 99) == 1850
    assert look("open_loop", 100) == 2050  # a row late: the arm came to rest before
    never = {"executing": running, "delay_ns": None}
    assert next_observation_ns("open_loop", 1000 * MS, 100 * MS, 4, **never) == 1850 * MS


def test_what_the_model_said_is_sent_with_the_rows_that_are_executed():
    said = np.arange(16.0).reshape(8, 2)
    sent = truncated(replace(OLD, model_actions=said), "open_loop", 3)
    assert sent.model_actions.tolist() == said[:3].tolist()
    assert sent.actions.tolist() == OLD.actions[:3].tolist()
