"""The guard from tick to tick: what was measured when, what is off its way for how long, what a hold leaves out. In ms."""

from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest

from vla_policy.embodiment import Workspace, load_embodiment
from vla_policy.safety import guard_state
from vla_policy.safety.collisions import Bodies
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState, Watched
from vla_policy.safety.robot import robot_of
from vla_policy.types import Level, Reason, RobotState

MS = 1_000_000
T_MS = 10_000  # of the first command
EMBODIMENT = load_embodiment("vx300s")
LIMITS = EMBODIMENT.limits
ARM = robot_of(replace(EMBODIMENT, limits=replace(LIMITS, engage_fade_s=0.0)))
HERE = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
LAYOUT = ARM.layout
FAR_M = LIMITS.groups["arm"].start_jump_m + 0.01  # further than an arm at rest may be away


def at(x=0.3, y=0.0):
    return np.array([x, y, *HERE[2:]])


def tick(state, proposed, now_ms, *, here=HERE, robot=ARM, stamp_ms=None, faults=()):
    seen = RobotState() if stamp_ms is None else RobotState(ee_ns=round(stamp_ms * MS))
    return check(
        state, robot, proposed, here=here, seen=seen, faults=faults, now_ns=round(now_ms * MS)
    )


def codes(verdict):
    return [reason.code for reason in verdict.reasons]


def begun(robot=ARM):
    """Engaged, and told once to be where it is; what is looked at only while an arm begins is left out."""
    state, verdict = tick(guard_state.engage(GuardState()), HERE, T_MS, robot=robot)
    assert verdict.level is Level.PASS
    return replace(state, gone=None)


def rested():
    """It was told to hold since, and measured at rest."""
    state = begun()
    for now_ms in range(T_MS + 20, T_MS + 400, 20):
        state, _ = tick(state, None, now_ms)
    return state


def test_a_robot_that_was_never_measured_is_not_started():
    state, verdict = tick(guard_state.engage(GuardState()), HERE, T_MS, here=None)
    assert (verdict.level, codes(verdict), verdict.command) == (Level.HOLD, ["no_position"], None)
    assert state.counts == {"no_position": 1}


@pytest.mark.parametrize("bad", [np.array([0.3]), np.full(8, np.nan), 0.0 * HERE])
def test_a_measurement_that_is_not_well_formed_is_none(bad):
    _, verdict = tick(guard_state.engage(GuardState()), HERE, T_MS, here=bad)
    assert codes(verdict) == ["no_position"]


def test_an_arm_that_moves_goes_on_without_being_measured_for_a_moment():
    _, verdict = tick(begun(), at(0.302), T_MS + 20, here=None)
    assert (verdict.level, verdict.command.values[0]) == (Level.PASS, 0.302)


@pytest.mark.parametrize(
    ("stamp_ms", "led"), [(T_MS + 100, False), (T_MS + 390, True), (None, True)]
)
def test_only_what_was_measured_at_rest_says_that_an_arm_was_led_away(stamp_ms, led):
    there, later_ms = at(0.32), 0
    state, verdict = tick(rested(), HERE, T_MS + 400, here=there, stamp_ms=stamp_ms)
    if led:
        assert codes(verdict) == ["settling"] and verdict.command.names == ("gripper",)
        for later_ms in range(20, 220, 20):  # it stands, so nobody leads it any more
            state, verdict = tick(state, HERE, T_MS + 400 + later_ms, here=there)
    x = verdict.command.values[0]
    assert x == pytest.approx(0.32 - 0.0024 if led else 0.3), "6 m/s^2 for one period, from rest"


@pytest.mark.parametrize(("after_ms", "away"), [(500, False), (500.001, True)])
def test_half_a_second_after_its_last_command_an_arm_that_is_elsewhere_was_moved(after_ms, away):
    """Until then it may be on its way, and is left 500 ms to come back."""
    state, there = begun(), at(0.3, FAR_M)
    state, verdict = tick(state, None, T_MS + 100, here=there)
    assert codes(verdict) == ["no_chunk"] and state.astray_ns == (T_MS + 100) * MS
    state, verdict = tick(state, None, T_MS + after_ms, here=there)
    assert codes(verdict) == (["moved_away"] if away else ["no_chunk"])
    assert state.engaged == (not away)


@pytest.mark.parametrize(("astray_ms", "away"), [(499, False), (500, True)])
def test_an_arm_that_moves_may_be_off_its_way_for_half_a_second(astray_ms, away):
    state, there = begun(), at(0.3, FAR_M)
    times = [*range(T_MS + 20, T_MS + 20 + astray_ms, 20), T_MS + 20 + astray_ms]
    for now_ms in times[:-1]:
        state, verdict = tick(state, HERE, now_ms, here=there)
        assert verdict.command is not None and codes(verdict) == []
    state, verdict = tick(state, HERE, times[-1], here=there)
    assert codes(verdict) == (["moved_away"] if away else [])


def test_who_comes_back_to_its_way_has_half_a_second_again():
    state, there = begun(), at(0.3, FAR_M)
    for now_ms in range(T_MS + 20, T_MS + 1_600, 20):
        here = HERE if now_ms % 400 == 0 else there
        state, verdict = tick(state, HERE, now_ms, here=here)
        assert codes(verdict) == []
        assert (state.astray_ns is None) == (here is HERE)
    unseen, _ = tick(state, HERE, T_MS + 1_600, here=None)
    assert unseen.astray_ns is None


@pytest.mark.parametrize("proposed", [HERE, np.full(8, np.nan)])
def test_a_start_from_where_others_led_it_is_refused_while_it_is_far_away(proposed):
    _, verdict = tick(rested(), proposed, T_MS + 400, here=at(0.5))
    assert verdict.level is Level.HOLD
    assert codes(verdict) == (["start_jump"] if proposed is HERE else ["not_finite"])
    assert verdict.command.names == ("gripper",)


def test_a_second_tick_at_the_same_time_moves_nothing_and_forgets_no_speed():
    state, _ = tick(begun(), at(0.302), T_MS + 20)
    again, verdict = tick(state, at(0.304), T_MS + 20)
    assert verdict.command.values.tolist() == state.sent.values.tolist()
    assert again.sent.velocity.tolist() == state.sent.velocity.tolist()
    assert again.sent.velocity[0] == pytest.approx(0.1)


BOXED = robot_of(
    replace(
        EMBODIMENT,
        limits=replace(
            LIMITS,
            engage_fade_s=0.0,
            keep_out=(Workspace(np.array([0.31, -0.1, 0.1]), np.array([0.4, 0.1, 0.3])),),
        ),
    )
)


def test_an_arm_before_a_box_is_held_at_its_setpoint():
    state, now_ms, here = begun(BOXED), T_MS, HERE
    for _ in range(30):
        now_ms += 20
        state, verdict = tick(state, at(0.35), now_ms, here=here, robot=BOXED)
        if verdict.level is Level.HOLD:
            break
        here = verdict.command.values
    assert codes(verdict)[-1] == "keep_out"
    assert "velocity" in codes(verdict) or "acceleration" in codes(verdict), "all that was found"
    assert verdict.command.names == LAYOUT.names
    assert verdict.command.values.tolist() == here.tolist()
    assert 0.3 < here[0] <= 0.31
    assert state.counts["keep_out"] == 1


def test_bodies_that_have_nothing_against_it_allow_no_box():
    bodies = create_autospec(Bodies, instance=True)
    bodies.problem.return_value = None
    boxed, state = replace(BOXED, bodies=bodies), begun(BOXED)
    for tick_ in range(30):
        state, verdict = tick(
            state, at(0.35), T_MS + 20 * (tick_ + 1), here=state.sent.values, robot=boxed
        )
    assert codes(verdict)[-1] == "keep_out"
    assert bodies.problem.called, "they were asked where the way was free"


@pytest.mark.parametrize(("late_ms", "speed"), [(20, 0.1), (40, 0.05)])
def test_how_fast_an_arm_has_been_is_what_it_did_since_the_last_command(late_ms, speed):
    state, _ = tick(begun(), at(0.302), T_MS + late_ms)
    assert state.sent.velocity == pytest.approx([speed, 0, 0, 0, 0, 0])


def test_an_arm_that_stood_speeds_up_from_rest_and_counts_the_time_that_it_stood():
    state, verdict = tick(begun(), at(0.302), T_MS + 120)
    assert verdict.command.values[0] == pytest.approx(0.302)
    assert state.sent.velocity[0] == pytest.approx(0.002 / 0.12)


@pytest.mark.parametrize(
    ("fade_s", "since_ms", "share"),
    [
        (0.0, 0, 1.0),
        (0.5, 0, 0.04),
        (0.5, 20, 0.08),
        (0.5, 460, 0.96),
        (0.5, 480, 1.0),
        (0.5, 900, 1.0),
    ],
)
def test_how_much_of_the_speed_is_allowed_so_soon_after_engaging(fade_s, since_ms, share):
    """0.5 m/s: a tool that moves already so fast goes on with what is allowed."""
    robot = robot_of(replace(EMBODIMENT, limits=replace(LIMITS, engage_fade_s=fade_s)))
    state = begun(robot)
    last = state.sent
    now_ms = T_MS + since_ms
    sent = replace(
        last, stamp_ns=(now_ms - 20) * MS, moved_ns=(now_ms - 20) * MS,
        velocity=np.array([0.5, 0, 0, 0, 0, 0]),
    )  # fmt: skip
    _, verdict = tick(replace(state, sent=sent), at(0.34), now_ms, robot=robot)
    assert verdict.command.values[0] - 0.3 == pytest.approx(0.5 * share * 0.02)
    assert codes(verdict)[0] == ("velocity" if share == 1.0 else "engage_fade")


@pytest.mark.parametrize(("fade_s", "since_ms", "share"), [(0.0, 900, 0.3), (0.5, 20, 0.024)])
def test_an_operator_s_share_of_the_speed_is_kept_and_grown_into(fade_s, since_ms, share):
    limits = replace(LIMITS, engage_fade_s=fade_s)
    robot = replace(robot_of(replace(EMBODIMENT, limits=limits)), speed_share=0.3)
    now_ms, last = T_MS + since_ms, begun(robot).sent
    sent = replace(
        last, stamp_ns=(now_ms - 20) * MS, moved_ns=(now_ms - 20) * MS,
        velocity=np.array([0.5, 0, 0, 0, 0, 0]),
    )  # fmt: skip
    _, verdict = tick(replace(begun(robot), sent=sent), at(0.34), now_ms, robot=robot)
    assert verdict.command.values[0] - 0.3 == pytest.approx(0.5 * share * 0.02)
    assert codes(verdict)[0] == ("engage_fade" if fade_s else "velocity")
    assert "of which" in verdict.reasons[0].detail


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan"), float("inf")])
def test_a_share_of_the_speed_that_would_lift_a_limit_or_is_none_is_refused(share):
    with pytest.raises(ValueError, match="speed_share: got"):
        replace(ARM, speed_share=share)


def beginning():
    """As begun(), with what is looked at while an arm begins."""
    return tick(guard_state.engage(GuardState()), HERE, T_MS)[0]


@pytest.mark.parametrize(("stamp_ms", "watched"), [(199, False), (200, True), (260, True)])
def test_what_others_do_is_watched_from_when_an_arm_is_at_rest(stamp_ms, watched):
    state, _ = tick(beginning(), None, T_MS + 300, stamp_ms=T_MS + stamp_ms)
    assert (state.watched is not None) == watched


@pytest.mark.parametrize("how", ["disengaged", "stopped", "stale", "no plan"])
def test_what_others_do_is_watched_whatever_holds_the_arm(how):
    state = GuardState() if how == "disengaged" else guard_state.engage(GuardState())
    if how == "stopped":
        state = guard_state.stop(state, Reason("operator_stop", "by hand"))
    faults = (Reason("stale_camera", "for a test"),) if how == "stale" else ()
    for k in range(5):
        state, _ = tick(state, None, T_MS + 20 * k, here=at(0.3 + 0.01 * k), faults=faults)
    assert state.watched.moved_ns == (T_MS + 80) * MS
    state = guard_state.engage(guard_state.reset(state))
    _, verdict = tick(state, at(0.34), T_MS + 100, here=at(0.34))
    assert codes(verdict) == ["settling"]


def test_where_it_was_told_to_be_begins_anew_with_each_motion_from_rest():
    state = beginning()
    assert state.gone.since_ns == T_MS * MS
    going, _ = tick(state, at(0.302), T_MS + 20)
    assert going.gone.since_ns == T_MS * MS
    assert (going.gone.low[0], going.gone.high[0]) == (0.3, 0.302)
    for after_ms, anew in ((199, False), (200, True)):
        again, _ = tick(state, at(0.301), T_MS + after_ms, stamp_ms=T_MS + 150)
        assert again.gone.since_ns == (T_MS + after_ms * anew) * MS


@pytest.mark.parametrize(
    ("aside_m", "stamp_ms", "led"), [(0.019, 40, False), (0.023, 40, True), (0.023, 220, False)]
)
def test_an_arm_beside_its_way_is_led_as_long_as_it_is_measured_on_it(aside_m, stamp_ms, led):
    """After it came to rest the rules of an arm at rest hold."""
    state, _ = tick(beginning(), at(0.302), T_MS + 20)
    state, verdict = tick(
        state, at(0.302), T_MS + 40, here=at(0.3, aside_m), stamp_ms=T_MS + stamp_ms
    )
    assert (codes(verdict) == ["led_away"]) == led
    if led:
        assert verdict.level is Level.HOLD and verdict.command.names == ("gripper",)
        assert state.watched.moved_ns == (T_MS + 40) * MS
        assert state.counts["led_away"] == 1


def test_a_malformed_setpoint_of_an_arm_that_is_led_is_told_for_what_it_is():
    state, _ = tick(beginning(), at(0.302), T_MS + 20)
    away = {"here": at(0.3, 0.023), "stamp_ms": T_MS + 40}
    after, verdict = tick(state, np.full(8, np.nan), T_MS + 40, **away)
    assert codes(verdict) == ["not_finite"] and after.watched is None


def test_who_moves_on_does_not_wait_for_what_was_seen_before():
    """It was led, stood, began, and moves: only a beginning waits."""
    state, _ = tick(beginning(), at(0.302), T_MS + 20)
    led = replace(state, watched=Watched(HERE, (T_MS + 20) * MS, moved_ns=T_MS * MS))
    _, verdict = tick(led, at(0.304), T_MS + 40, stamp_ms=T_MS + 35)
    assert verdict.level is Level.PASS
