"""A recording session: what may begin, what ends it, and that no take is lost or counted twice."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.data import recording as core
from vla_policy.data.recording import Phase, Recording
from vla_policy.data.stream_meter import StreamMeter, StreamNeed, StreamReport
from vla_policy.data.take_verdict import TakeVerdict
from vla_policy.timing import NS_PER_S
from vla_policy.types import Reason

MS = 1_000_000
FAULTY = TakeVerdict((Reason("gaps", "front: 2 gaps"),))
CAMERA = StreamNeed("front", "sensor_msgs/msg/Image", required=True, max_age_s=0.2)


def report(**fields):
    return StreamReport(**{"need": CAMERA, "hz": 30.0, "lag_s": 0.02, "age_s": 0.03, **fields})


def begun(task="pick it up", limit_ns=30 * NS_PER_S):
    recording, refusal = core.begin(Recording(), task, (), 5 * NS_PER_S, limit_ns)
    assert refusal is None
    return recording


def test_a_take_from_its_begin_to_an_episode():
    recording = begun()
    assert recording.phase is Phase.RECORDING
    recording, refusal = core.end(recording, TakeVerdict(), 9 * NS_PER_S)
    assert (recording.phase, refusal) == (Phase.DECIDING, None)
    recording, refusal = core.save(recording, 0, True)
    assert (recording.phase, refusal) == (Phase.IDLE, None)
    assert recording.saved == (core.Saved(0, "pick it up", 4.0, True),)
    assert recording.lengths_s("pick it up") == (4.0,) and recording.lengths_s("push") == ()


def test_nothing_begins_while_something_is_missing_or_open():
    lacking = ("front: nothing was received", "no task")
    same, refusal = core.begin(Recording(), "", lacking, 0, NS_PER_S)
    assert same == Recording() and refusal == "front: nothing was received; no task"
    recording = begun()
    assert core.begin(recording, "x", (), 0, NS_PER_S)[1] == "a take is being recorded already"
    deciding, _ = core.end(recording, FAULTY, 9 * NS_PER_S)
    same, refusal = core.begin(deciding, "x", (), 0, NS_PER_S)
    assert same is deciding and "waits for a decision" in refusal
    assert core.delete_last(deciding)[1] is not None


def test_a_take_that_is_recorded_cannot_be_kept_before_its_verdict():
    recording = begun()
    same, refusal = core.save(recording, 0, None)
    assert same is recording and refusal == "no take has ended that could be kept"


EVENTS = st.lists(
    st.sampled_from(("begin", "missing", "end", "save", "discard", "delete", "wait")), max_size=60
)


@given(EVENTS)
@settings(max_examples=300, deadline=None)
def test_every_take_ends_in_exactly_one_way(events):
    recording, now_ns = Recording(), 0
    done = Counter()
    for event in events:
        now_ns += 700 * MS
        before = recording
        if event in ("begin", "missing"):
            lacking = ("front: nothing was received",) if event == "missing" else ()
            recording, refusal = core.begin(recording, "task", lacking, now_ns, NS_PER_S)
        elif event == "end":
            recording, refusal = core.end(recording, FAULTY, now_ns)
        elif event == "save":
            recording, refusal = core.save(recording, len(recording.saved), None)
        elif event == "discard":
            recording, refusal = core.discard(recording)
        elif event == "delete":
            recording, refusal = core.delete_last(recording)
        else:
            refusal = None
        # A refusal changes nothing, and what changes nothing says why.
        assert (recording is before) == (refusal is not None) or event == "wait"
        if refusal is None:
            done[event] += 1
        assert event != "missing" or refusal is not None
        open_now = recording.take is not None
        assert done["begin"] == done["save"] + done["discard"] + open_now
        assert len(recording.saved) == done["save"] - done["delete"]
        assert recording.takes == done["begin"] and recording.discarded == done["discard"]
        assert (recording.phase is Phase.DECIDING) == (
            open_now and recording.take.verdict is not None
        )
    assert [saved.episode for saved in recording.saved] == list(range(len(recording.saved)))


def test_a_stream_that_falls_silent_ends_the_take_and_the_time_limit_does():
    recording = begun()
    at = 8 * NS_PER_S
    assert core.ended_by(recording, [report(age_s=1.9)], at) is None
    ended = core.ended_by(recording, [report(age_s=2.1)], at)
    assert ended == Reason("silent", "front has been silent for 2.1 s: the take ended")
    assert core.ended_by(recording, [report(age_s=None)], at).code == "silent"
    event = StreamNeed("instruction", "std_msgs/msg/String")
    assert core.ended_by(recording, [report(need=event, age_s=50.0)], at) is None
    assert core.ended_by(recording, [report()], 35 * NS_PER_S).code == "time_limit"
    assert core.ended_by(Recording(), [report(age_s=9.0)], at) is None


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (report(age_s=None), "front: nothing was received"),
        (report(age_s=0.7), "front: nothing new for 0.7 s"),
        (report(lag_s=0.31), "front: arrives 0.31 s late, 0.2 s is allowed"),
        (report(), None),
    ],
)
def test_what_is_missing_is_said_of_each_stream(stream, sentence):
    found = core.missing([stream], task="pick", free_bytes=9e9, least_bytes=2e9)
    assert found == (() if sentence is None else (sentence,))


def test_task_disk_and_problems_of_others_are_missing_too():
    found = core.missing(
        [], task=" ", free_bytes=1.2e9, least_bytes=2e9, problems=["nobody has engaged the robot"]
    )
    assert found == (
        "no task: say in words what is demonstrated",
        "the disk has 1.2 GB left, at least 2.0 GB are asked for",
        "nobody has engaged the robot",
    )


@pytest.mark.parametrize(
    ("clock_s", "steady_s", "simulated", "jumped"),
    [
        (0.2, 0.2, False, False),
        (-0.01, 0.2, False, True),
        (1.2, 0.2, False, True),
        (0.2, 1.2, False, True),  # it stood while a second passed
        (0.2, 1.2, True, False),  # a simulation may be slow
        (0.0, 1.0, True, False),
        (4.0, 0.2, True, False),
        (9.0, 0.2, True, True),
        (-0.01, 0.2, True, True),
    ],
)
def test_a_clock_that_jumps_is_told_from_a_slow_simulation(clock_s, steady_s, simulated, jumped):
    now = (round(clock_s * 1e9) + 10, round(steady_s * 1e9) + 20)
    assert (core.clock_jump((10, 20), now, simulated=simulated) is not None) == jumped


def test_seconds_that_fit_on_the_disk():
    assert core.disk_left_s(12e9, 2e9, 1e9, 10.0) == pytest.approx(100.0)
    assert core.disk_left_s(1e9, 2e9, 1e9, 10.0) == 0.0
    assert core.disk_left_s(12e9, 2e9, 0.0, 10.0) is None


def meter_of(stamps_ms, lag_ms=10, begin_ms=None):
    meter = StreamMeter(CAMERA)
    for stamp in stamps_ms:
        if begin_ms is not None and stamp > begin_ms:
            meter.begin(begin_ms * MS)
            begin_ms = None
        meter.add(stamp * MS, (stamp + lag_ms) * MS)
    return meter


def test_rate_lag_and_gaps_are_measured():
    meter = meter_of([*range(1000, 3000, 50), *range(3400, 4000, 50)], begin_ms=2000)
    found = meter.report(3960 * MS)
    assert found.hz == pytest.approx(17, abs=1.0)  # over the last 2 s, the pause included
    assert found.lag_s == pytest.approx(0.01)
    assert found.gaps == pytest.approx((0.45,))
    assert found.before_hz == pytest.approx(20.0, abs=0.5)
    assert found.count == 19 + 12 and found.backwards == 0


def test_a_pause_before_the_take_is_not_its_own_and_the_present_one_counts():
    meter = meter_of([*range(1000, 2000, 50), *range(2600, 3000, 50)], begin_ms=2550)
    assert meter.report(2960 * MS).gaps == ()
    assert meter.report(3450 * MS).gaps == pytest.approx((0.5,))
    assert meter.report(7000 * MS).hz == 0.0


def test_a_burst_of_late_messages_is_no_faster_stream():
    meter = StreamMeter(CAMERA)
    for stamp in range(1000, 2000, 40):  # all of a second within 100 ms
        meter.add(stamp * MS, (2000 + stamp // 10) * MS)
    assert meter.report(2210 * MS).hz == pytest.approx(25.0, rel=0.05)
    meter.begin(2210 * MS)
    assert meter.report(2220 * MS).before_hz == 0.0  # found only a moment ago


def test_stamps_that_go_back_are_counted_and_make_no_gap():
    meter = meter_of([1000, 1050, 1020, 1100])
    found = meter.report(1110 * MS)
    assert (found.backwards, found.gaps) == (1, ())
    meter.clear()
    assert meter.report(1120 * MS).age_s is None


@given(st.lists(st.integers(1, 400), min_size=5, max_size=80))
@settings(max_examples=100, deadline=None)
def test_gaps_are_the_steps_that_are_too_long(steps_ms):
    stamps = [1000]
    for step in steps_ms:
        stamps.append(stamps[-1] + step)
    found = meter_of(stamps).report((stamps[-1] + 10) * MS)
    assert found.gaps == pytest.approx([s / 1000 for s in steps_ms if s > 200])
    assert 0.0 <= found.hz <= 1000.0


def test_what_the_transport_lost_is_counted_take_by_take():
    meter = StreamMeter(CAMERA)
    meter.drop(5)
    meter.begin(NS_PER_S)
    meter.drop(2)
    assert meter.report(2 * NS_PER_S).dropped == 2
