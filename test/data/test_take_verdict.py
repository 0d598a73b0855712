"""Keep or discard: each fault of a take is named, and a good take has none."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.data.stream_meter import StreamNeed, StreamReport
from vla_policy.data.take_meters import MotionMeter
from vla_policy.data.take_verdict import NOT_LOOKED_AT, TakeFacts, judge
from vla_policy.types import Reason

CAMERA = StreamNeed("front", "sensor_msgs/msg/Image", required=True, max_age_s=0.2)
COMMAND = StreamNeed(
    "control_command",
    "vla_policy/msg/ControlCommand",
    required=True,
    max_age_s=0.3,
    expected_hz=50.0,
)
GOOD = TakeFacts(
    seconds=12.0,
    frames=120,
    streams=(
        StreamReport(CAMERA, count=360, mean_hz=29.9, before_hz=30.0),
        StreamReport(COMMAND, count=590, mean_hz=49.6, before_hz=50.0),
    ),
    ticks=500,
    slowed=40,
    reasons={"speed": 40},
    others_s=(11.0, 12.0, 14.0),
    out_of_view={"front": 0.0},
)


def test_a_good_take_is_kept_without_a_word():
    verdict = judge(GOOD)
    assert verdict.keep and verdict.sentences == ()


def stream(need, **fields):
    return {"streams": (StreamReport(need, **{"count": 300, "mean_hz": 30.0, **fields}),)}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"lost": 3}, "lost", "3 messages came faster than they could be written"),
        ({"frames": 2}, "no_frames", "only 2 frames are complete"),
        ({"stale_frames": 12}, "stale_frames", "12 of 120 frames lack"),
        (
            stream(CAMERA, gaps=(0.3, 0.8)),
            "gaps",
            "front: 2 gaps, the longest 0.80 s; 0.2 s is allowed",
        ),
        (stream(CAMERA, gaps=(0.3,)), "gaps", "front: 1 gap, the longest 0.30 s"),
        (stream(CAMERA, before_hz=45.0), "slow", "front ran at 30.0 Hz instead of 45.0"),
        (stream(COMMAND), "slow", "the control loop ran at 30.0 Hz instead of 50.0"),
        (stream(CAMERA, backwards=1), "stamps_back", "front: 1 stamps lie before earlier ones"),
        (
            stream(CAMERA, dropped=9),
            "dropped",
            "front: 9 of 309 messages were lost before they came",
        ),
        ({"moved": False}, "no_motion", "the robot never moved"),
        ({"stalls": ((1.0, 2.0), (4.0, 5.5))}, "stall", "stood still for 5.5 s from 4.0 s on"),
        (
            {"held": 60, "reasons": {"workspace": 60}},
            "guard_held",
            "held the robot in 12 % of the ticks, mostly for workspace",
        ),
        (
            {"slowed": 400},
            "guard_slowed",
            "slowed the robot in 80 % of the ticks, mostly for speed",
        ),
        ({"seconds": 3.0}, "short", "3.0 s is short beside the other takes of this task, 12.0 s"),
        ({"seconds": 50.0}, "long", "50.0 s is long beside the other takes of this task, 12.0 s"),
        (
            {"out_of_view": {"front": 0.6}},
            "out_of_view",
            "outside the image of front in 60 % of the frames",
        ),
        (
            {"target_out_of_view": {"front": 0.7, "side": 0.0}},
            "target_out_of_view",
            "the object of the task is outside the image of front in 70 % of the frames",
        ),
        (
            {"pointed_out_of_view": {"front": 0.8}},
            "pointed_out_of_view",
            "the place where the policy sees the object of the task is outside the image of front in 80 %",
        ),
        (
            {"ended_by": Reason("silent", "front has been silent")},
            "silent",
            "front has been silent",
        ),
    ],
)
def test_each_fault_is_named(change, code, words):
    verdict = judge(replace(GOOD, **change))
    assert [fault.code for fault in verdict.faults] == [code]
    assert words in verdict.sentences[0] and not verdict.keep


def test_what_was_not_looked_at_is_said_and_is_no_fault():
    verdict = judge(
        replace(GOOD, out_of_view=None, others_s=(12.0,), seconds=90.0, stale_frames=1)
    )
    assert verdict.keep
    assert verdict.notes[0] == NOT_LOOKED_AT
    assert "1 saved take of this task" in verdict.notes[1]
    assert judge(replace(GOOD, idle_frames=9)).notes == (
        "9 of 120 frames come before the first command",
    )
    assert verdict.notes[2] == "1 of 120 frames lack a fresh sample"


def test_a_stream_that_nobody_needs_may_pause():
    event = StreamNeed("instruction", "std_msgs/msg/String", max_age_s=0.1)
    assert judge(
        replace(GOOD, streams=(StreamReport(event, gaps=(9.0,), count=1, backwards=1),))
    ).keep


def test_stalls_are_the_times_without_motion():
    meter = MotionMeter()
    for k in range(100):  # 10 Hz: moves for 2 s, stands for 5 s with a tremble, moves on
        x = 0.01 * min(k, 20) + 0.01 * max(0, k - 70) + 0.0005 * (-1) ** k
        meter.add(k / 10, np.array([x, 1.0]))
    assert meter.moved
    ((begin, seconds),) = meter.stalls()
    assert begin == pytest.approx(2.0, abs=0.2) and seconds == pytest.approx(5.0, abs=0.3)


def test_a_slow_motion_is_no_stall_and_a_robot_that_stands_never_moved():
    slow, still = MotionMeter(), MotionMeter()
    for k in range(100):
        slow.add(k / 10, np.array([0.001 * k]))
        still.add(k / 10, np.array([0.3]))
    assert slow.moved and slow.stalls() == ()
    assert not still.moved and still.stalls() == ((0.0, pytest.approx(9.9)),)


def test_one_lost_image_is_told_and_does_not_cost_the_take():
    verdict = judge(replace(GOOD, **stream(CAMERA, dropped=1)))
    assert verdict.keep
    assert verdict.notes == ("front: 1 of 301 messages were lost before they came",)


def test_an_arm_that_leaves_the_image_for_a_while_is_told():
    verdict = judge(replace(GOOD, out_of_view={"front": 0.22, "side": 0.05}))
    assert verdict.keep
    assert verdict.notes == ("the tool is outside the image of front in 22 % of the frames",)


def test_an_object_that_leaves_the_image_for_a_while_is_told_and_one_that_nobody_knows_is_not():
    verdict = judge(replace(GOOD, target_out_of_view={"front": 0.3}))
    words = "the object of the task is outside the image of front in 30 % of the frames"
    assert verdict.keep and verdict.notes == (words,)
    assert judge(replace(GOOD, target_out_of_view=None)).notes == ()
