"""Fresh, old, early, frozen, and a clock that jumps: exactly at each bound and a nanosecond beyond it."""

from dataclasses import replace

import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.safety.watchdog import InputStamps, clock_jumped, stale_inputs, too_old
from vla_policy.types import Reason

S = 1_000_000_000
NOW = 100 * S
EMBODIMENT = load_embodiment("vx300s")
CAMERAS = tuple(EMBODIMENT.cameras)
FRESH = InputStamps(NOW, NOW, dict.fromkeys(CAMERAS, NOW))


@pytest.mark.parametrize(
    ("age_ns", "words"),
    [
        (0, None),
        (S // 4, None),
        (S // 4 + 1, "it is 0.25 s old, at most 0.25 s is allowed"),
        (3 * S, "it is 3.00 s old, at most 0.25 s is allowed"),
        (-S // 10, None),  # clocks of two machines agree to 100 ms
        (-S // 10 - 1, "it is stamped 0.100 s ahead of the clock"),
        (-2 * S, "it is stamped 2.000 s ahead of the clock"),
    ],
)
def test_how_old_a_stamp_may_be(age_ns, words):
    assert too_old("it", NOW - age_ns, 0.25, NOW) == words


def test_what_has_never_come_is_not_fresh():
    assert too_old("it", None, 0.25, NOW) == "nothing has come on it yet"


@pytest.mark.parametrize(
    ("last_ns", "now_ns", "words"),
    [
        (NOW, NOW, None),
        (NOW, NOW + S, None),
        (NOW, NOW + S + 1, "the clock went on by 1.000 s from one tick to the next"),
        (NOW, NOW + 5 * S, "the clock went on by 5.000 s from one tick to the next"),
        (NOW, NOW - 1, "the clock went back by 0.000 s"),
        (NOW, NOW - 2 * S, "the clock went back by 2.000 s"),
    ],
)
def test_a_clock_jumps_that_goes_back_or_on_by_more_than_a_second(last_ns, now_ns, words):
    assert clock_jumped(last_ns, now_ns) == (
        None if words is None else Reason("clock_jump", words)
    )


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"joint_ns": None}, ["stale_joint_states"]),
        ({"ee_ns": None}, ["stale_ee_pose"]),
        ({"cameras": {CAMERAS[0]: NOW}}, ["stale_camera"]),
        ({"cameras": {}}, ["stale_camera"] * len(CAMERAS)),
        ({"conflict": Reason("two_policies", "two")}, ["two_policies"]),
        (
            {"joint_ns": NOW - 9 * S, "still": {CAMERAS[0]: NOW - 9 * S}},
            ["stale_joint_states", "stale_pixels"],
        ),
    ],
)
def test_one_reason_for_each_input(changes, codes):
    assert [r.code for r in stale_inputs(replace(FRESH, **changes), EMBODIMENT, NOW)] == codes


def test_what_is_wrong_with_an_input_is_said_by_who_knows_it():
    said = replace(
        FRESH,
        joint_ns=None,
        errors={"stale_joint_states": "no joint elbow", "stale_camera": "dark"},
    )
    assert [r.detail for r in stale_inputs(said, EMBODIMENT, NOW)] == ["no joint elbow"]
    late = replace(FRESH, cameras={**FRESH.cameras, CAMERAS[1]: NOW - S})
    (reason,) = stale_inputs(late, EMBODIMENT, NOW)
    camera = EMBODIMENT.cameras[CAMERAS[1]]
    assert (
        reason.detail == f"{camera.topic} is 1.00 s old, at most {camera.max_age_s:g} s is allowed"
    )


@pytest.mark.parametrize(("still_ns", "frozen"), [(S, False), (S + 1, True), (7 * S, True)])
def test_a_picture_that_does_not_change_while_the_robot_moves_is_frozen(still_ns, frozen):
    found = stale_inputs(replace(FRESH, still={CAMERAS[1]: NOW - still_ns}), EMBODIMENT, NOW)
    assert [r.code for r in found] == (["stale_pixels"] if frozen else [])
    if frozen:
        assert found[0].detail == (
            f"{EMBODIMENT.cameras[CAMERAS[1]].topic} shows the very same pixels for {still_ns / S:.2f} s while the "
            "robot moved, at most 1 s is allowed"
        )


def test_a_robot_without_a_tool_pose_needs_none():
    assert stale_inputs(InputStamps(NOW), load_embodiment("fr3"), NOW)[0].code == "stale_camera"
    cameras = dict.fromkeys(load_embodiment("fr3").cameras, NOW)
    assert stale_inputs(InputStamps(NOW, None, cameras), load_embodiment("fr3"), NOW) == ()
