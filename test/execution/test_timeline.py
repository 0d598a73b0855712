"""Chunks on the time axis. The tables are written by hand, in ms and mm, to be read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.embodiment import GroupLimits, load_embodiment
from vla_policy.embodiment.layout import JOINTS, ActionPart, Layout, layout_of
from vla_policy.execution.schemes import SCHEMES
from vla_policy.execution.spline import curve, evaluate
from vla_policy.execution.timeline import (
    Timeline,
    emptied,
    insert,
    queued_rows,
    setpoint,
    untimely,
)
from vla_policy.geometry.quaternions import turn_between
from vla_policy.types import ActionChunk

MS = 1_000_000
ONE = Layout(
    ("joint.a",),
    (ActionPart("arm", JOINTS, slice(0, 1), ("joint.a",), GroupLimits(), joints=(0,)),),
)
ARM = layout_of(load_embodiment("vx300s"))


def chunk(*rows, obs_ms=1000, sequence=0, step_ms=100, layout=ONE):
    actions = np.array(rows, dtype=np.float64).reshape(len(rows), len(layout.names))
    return ActionChunk(actions, layout.names, obs_ms * MS, step_ms * MS, sequence, "do it")


def taken(timeline, new, now_ms, start):
    timeline, reason = insert(timeline, new, now_ms * MS, np.array([start], dtype=np.float64), ONE)
    assert reason is None
    return timeline


def at(timeline, now_ms, layout=ONE):
    values = setpoint(timeline, now_ms * MS, layout)
    return None if values is None else float(values[0])


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        (1000, 0.0),  # row 0 is pursued from the observation on, from the action that stood
        # Rows 10, 20, 50 after 0: slopes per step 0 (from rest), 10, 15 (harmonic mean), 0 (rest).
        (1050, 3.75),  # half of 10, less 1/8 of the slope at its end
        (1100, 10.0),  # and reached one step later
        (1125, 12.265625),
        (1200, 20.0),
        (1250, 36.875),
        (1299, 49.992545),
        (1300, None),  # the end of the last row
        (5000, None),
    ],
)
def test_rows_are_reached_one_step_after_they_are_due(now_ms, expected):
    timeline = taken(Timeline(), chunk(10, 20, 50), 1000, 0.0)
    assert at(timeline, now_ms) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        # The chunk came 250 ms after its observation: rows 0 and 1 are over. Its curve is at 35
        # there, 37.5 per step fast, the arm at 15 and at rest; both differences fade within one step.
        (1250, 15.0),
        (1275, 43.90625 - 22.1484375),
        (1300, 50.0 - 14.6875),
        (1350, 56.875),  # all gone
        (1400, None),
    ],
)
def test_a_late_chunk_is_entered_without_a_step(now_ms, expected):
    timeline = taken(Timeline(), chunk(10, 20, 50, 60), 1250, 15.0)
    assert at(timeline, now_ms) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        (1140, 14.0),  # still the old plan
        (1150, 15.0),  # the new one came; the arm is where the old plan left it
        # The curve comes from 15 and is at 7.5 at 1150, 22.5 per step fast downwards; the arm at 15,
        # 10 per step fast upwards. Of 7.5, and 32.5 per step, this is left after a quarter.
        (1175, 2.34375 + 10.8984375),
        (1250, 0.0),
        (1390, 0.0),
        (1400, None),
    ],
)
def test_a_new_chunk_replaces_the_rest_of_the_old_one(now_ms, expected):
    old = taken(Timeline(), chunk(10, 20, 30, 40, obs_ms=1000), 1000, 0.0)
    if now_ms < 1150:
        assert at(old, now_ms) == pytest.approx(expected)
        return
    new = taken(old, chunk(0, 0, 0, obs_ms=1100, sequence=1), 1150, 15.0)
    assert at(new, now_ms) == (None if expected is None else pytest.approx(expected))


def test_motion_does_not_pause_where_a_chunk_comes():
    """The last command is a tick old; by now the old plan is further, and the new one starts there."""
    old = taken(Timeline(), chunk(10, 20, 30, 40), 1000, 0.0)
    now_ns, tick_ns = 1160 * MS, 20 * MS
    sent = setpoint(old, now_ns - tick_ns, ONE)
    fresh = chunk(20, 30, 40, 50, obs_ms=1100, sequence=1)
    new, reason = insert(old, fresh, now_ns, sent, ONE, lead_ns=tick_ns)
    assert reason is None
    assert at(new, 1160) == pytest.approx(16.0) == pytest.approx(at(old, 1160))
    new, _ = insert(old, fresh, now_ns, sent, ONE)
    assert at(new, 1160) == pytest.approx(14.0), "without it the arm stands for a tick"


def test_rows_that_are_left():
    timeline = taken(Timeline(), chunk(10, 20, 30), 1000, 0.0)
    assert [queued_rows(timeline, t * MS) for t in (1000, 1099, 1100, 1299, 1300, 9000)] == [
        3,
        3,
        2,
        1,
        0,
        0,
    ]
    again = taken(timeline, chunk(40, 50, obs_ms=1380), 1420, 30.0)
    assert at(again, 1420) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("new", "now_ms", "code"),
    [
        (chunk(1, obs_ms=1000, sequence=5), 1050, "chunk_duplicate"),
        (chunk(1, obs_ms=999, sequence=6), 1050, "chunk_old"),
        (chunk(1, 2, obs_ms=1020, sequence=5), 1050, "chunk_order"),
        (chunk(1, 2, obs_ms=1020, sequence=4), 1050, "chunk_order"),
        (chunk(1, 2, obs_ms=1020, sequence=6), 1220, "chunk_late"),
        (chunk(1, 2, obs_ms=1020, sequence=6), 1219, None),
        (chunk(1, obs_ms=1151, sequence=6), 1050, "chunk_future"),
        (chunk(1, obs_ms=1150, sequence=6), 1050, None),
        # A restarted policy counts from 0: taken once the old plan has run out at 1300.
        (chunk(1, 2, obs_ms=1250, sequence=0), 1299, "chunk_order"),
        (chunk(1, 2, obs_ms=1250, sequence=0), 1300, None),
    ],
)
def test_chunks_at_the_wrong_time_are_refused_with_a_reason(new, now_ms, code):
    timeline = taken(Timeline(), chunk(10, 20, 30, sequence=5), 1000, 0.0)
    after, reason = insert(timeline, new, now_ms * MS, np.zeros(1), ONE)
    assert (reason.code if reason else None) == code
    assert (after is timeline) == (code is not None)
    if reason is not None:
        assert len(reason.detail) > 10


def test_after_emptying_only_later_observations_count():
    timeline = emptied(taken(Timeline(), chunk(10, 20, 30), 1000, 0.0), 1100 * MS)
    assert at(timeline, 1100) is None
    assert (
        untimely(timeline, chunk(1, 2, 3, obs_ms=1099, sequence=1), 1150 * MS).code == "chunk_old"
    )
    assert untimely(timeline, chunk(1, 2, 3, obs_ms=1100, sequence=1), 1150 * MS) is None


def test_before_the_observation_the_arm_stays():
    timeline = taken(Timeline(), chunk(10, 20, obs_ms=1050), 1000, 3.0)
    assert at(timeline, 1000) == pytest.approx(3.0)
    assert at(timeline, 1049) == pytest.approx(3.0)
    assert at(timeline, 1150) == pytest.approx(10.0)


POSE = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5]


def test_a_gripper_passes_through():
    start, end = np.array(POSE), np.array(POSE)
    start[7], end[0], end[7] = 1.0, 0.4, 0.0
    half = evaluate(curve(start, end[None], ARM), np.array([0.5]), ARM)[0][0]
    assert half[0] == pytest.approx(0.35)
    assert half[7] == 0.0


angles = st.floats(-3.0, 3.0)
rows = st.lists(st.tuples(st.floats(-1, 1), angles), min_size=2, max_size=8)


def pose_rows(values):
    return [
        [x, 0.0, 0.2, 0.0, 0.0, np.sin(a / 2), np.cos(a / 2), 1.0 if a > 0 else 0.0]
        for x, a in values
    ]


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(0, 10**9), st.tuples(st.floats(-1, 1), angles))
def test_setpoints_start_where_the_arm_stands_and_end_on_the_rows(values, late_ns, stood):
    new = chunk(*pose_rows(values), layout=ARM)
    start = np.array(pose_rows([stood])[0])
    now_ns = new.obs_ns + late_ns
    timeline, reason = insert(Timeline(), new, now_ns, start, ARM)
    if reason is not None:
        assert reason.code == "chunk_late"
        assert late_ns >= len(values) * new.step_ns
        return
    first = setpoint(timeline, now_ns, ARM)
    assert first[:3] == pytest.approx(start[:3], abs=1e-9)
    assert np.linalg.norm(turn_between(start[3:7], first[3:7])) < 1e-6
    for row in range(len(values)):
        reached_ns = new.obs_ns + (row + 1) * new.step_ns
        if reached_ns < now_ns + new.step_ns or row == len(values) - 1:
            continue
        here = setpoint(timeline, reached_ns, ARM)
        assert here[:3] == pytest.approx(new.actions[row, :3], abs=1e-9)
        assert np.linalg.norm(turn_between(new.actions[row, 3:7], here[3:7])) < 1e-6
        assert np.linalg.norm(here[3:7]) == pytest.approx(1.0)


@settings(max_examples=100, deadline=None)
@given(rows, rows, st.integers(0, 90), st.integers(1, 60), st.sampled_from(sorted(SCHEMES)))
def test_place_and_velocity_have_no_jump_between_chunks(values, others, late_ms, gap_ms, scheme):
    """Measured on the setpoints themselves, a microsecond before and after the new chunk came."""
    old = taken_pose(Timeline(), chunk(*pose_rows(values), layout=ARM), 1000, POSE)
    now_ns = (1000 + late_ms + gap_ms) * MS
    stands = setpoint(old, now_ns, ARM)
    if stands is None:
        return
    fresh = chunk(*pose_rows(others), layout=ARM, obs_ms=1000 + gap_ms, sequence=1)
    merge = SCHEMES[scheme].merge
    new, reason = insert(old, fresh, now_ns, stands, ARM, merge=merge)
    assert reason is None or reason.code == "chunk_late"
    if reason is not None:
        return
    tick = 1000
    path = [
        setpoint(plan, now_ns + k * tick, ARM)
        for plan, k in ((old, -1), (old, 0), (new, 0), (new, 1))
    ]
    if any(p is None for p in path):
        return
    here = path[1]
    assert path[2][:3] == pytest.approx(here[:3], abs=1e-9)
    assert np.linalg.norm(turn_between(here[3:7], path[2][3:7])) < 1e-9
    before, after = path[1][:3] - path[0][:3], path[3][:3] - path[2][:3]
    assert after == pytest.approx(before, abs=2e-8)  # m per microsecond, of up to 6e-5
    before, after = (turn_between(path[i][3:7], path[i + 1][3:7]) for i in (0, 2))
    assert after == pytest.approx(before, abs=2e-7)


def taken_pose(timeline, new, now_ms, start):
    timeline, reason = insert(timeline, new, now_ms * MS, np.array(start, dtype=np.float64), ARM)
    assert reason is None
    return timeline
