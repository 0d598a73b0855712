"""Where the controllers are when the next command comes, for each kind of output: at each bound, and just beyond it."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import JOINTS, POSE, VELOCITY, layout_of
from vla_policy.execution.stopping_trajectory import joint_way
from vla_policy.geometry.quaternions import turned
from vla_policy.safety.controller_state import (
    drive_lapse_s,
    drive_now,
    elsewhere,
    led_away,
    measured_ns,
    rest_ns,
    rested_since,
    settled,
    standing,
    timed_out,
    told_now,
)
from vla_policy.safety.guard_state import Drive, GuardState, Sent
from vla_policy.safety.robot import GuardedRobot
from vla_policy.types import RobotState

MS = 1_000_000
T_MS = 10_000  # of the last command


def robot_of(name, **outputs):
    embodiment = replace(load_embodiment(name), model=None)
    changed = {g: replace(embodiment.outputs[g], **changes) for g, changes in outputs.items()}
    embodiment = replace(embodiment, outputs={**embodiment.outputs, **changed})
    return GuardedRobot(embodiment, layout_of(embodiment))


TOOL = robot_of("vx300s")  # poses, 20 ms
SERVO = robot_of("vx300s", arm={"type": "servo_pose", "servo": "servo_node"})
TWIST = robot_of("ur5e_servo")
WHEELS = robot_of("vx300s_mobile")
PATHS = robot_of("fr3")  # trajectories
WIDTH = {JOINTS: 7, POSE: 6}


def somewhere(robot):
    values = np.zeros(len(robot.layout.names))
    for part in robot.layout.parts:
        if part.kind == POSE:
            values[part.columns] = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]
        elif part.kind == JOINTS:
            values[part.columns] = (part.lower + part.upper) / 2
    return values


def speeds(robot, speed=0.1):
    return np.full(sum(WIDTH[p.kind] for p in robot.layout.of_kind(JOINTS, POSE)), speed)


def moved(robot, by, values=None):
    """An action with the first column of its arm elsewhere."""
    values = np.array(somewhere(robot) if values is None else values)
    values[0] += by
    return values


def yawed(by):
    values = somewhere(TOOL)
    values[3:7] = turned(values[3:7], np.array([0.0, 0.0, by]))
    return values


def sent(robot, *, repeated_ms=None, rested=None):
    """The last command, at T_MS; repeated_ms: when it was repeated last."""
    values, velocity = somewhere(robot), speeds(robot)
    ways = {
        p.group: joint_way(p, values[p.columns], velocity[:7], robot.embodiment.period_ns)
        for p in robot.layout.of_kind(JOINTS)
        if robot.embodiment.outputs[p.group].type == "joint_trajectory"
    }
    stamp_ms = T_MS if repeated_ms is None else repeated_ms
    return Sent(values, stamp_ms * MS, T_MS * MS, velocity, ways, rested)


def stands(robot, late_ms, *, here=None, here_ms=None, drive=None, **changes):
    state = GuardState(engaged=True, sent=sent(robot, **changes), drive=drive)
    stamp_ms = state.sent.stamp_ns // MS
    here_ns = None if here_ms is None else here_ms * MS
    return standing(state, here, robot, round((stamp_ms + late_ms) * MS), here_ns=here_ns)


@pytest.mark.parametrize(
    ("late_ms", "dt_ms", "lapse_ms", "speed"),
    [
        (-5, 0, 0, 0.1),  # a clock that shows less
        (0, 0, 0, 0.1),
        (7, 7, 7, 0.1),
        (20, 20, 20, 0.1),
        (33, 33, 33, 0.1),
        (40, 40, 40, 0.1),
        (40.5, 20, 40.5, 0.0),  # it stands by now, and starts from rest
        (150, 20, 150, 0.0),
    ],
)
def test_a_late_command_of_a_pose_makes_up_for_two_periods(late_ms, dt_ms, lapse_ms, speed):
    found = stands(TOOL, late_ms, here=moved(TOOL, 0.01))
    assert found.values.tolist() == somewhere(TOOL).tolist()
    assert found.velocity.tolist() == [speed] * 6
    assert (1e3 * found.dt_s, 1e3 * found.lapse_s) == pytest.approx((dt_ms, lapse_ms))
    assert not found.seen


def test_what_was_repeated_stands_since_it_moved():
    found = stands(TOOL, 20, here=somewhere(TOOL), repeated_ms=T_MS + 100)
    assert found.velocity.tolist() == [0.0] * 6
    assert (1e3 * found.dt_s, 1e3 * found.lapse_s) == pytest.approx((20, 120))


def test_before_the_first_command_a_robot_stands_where_it_is_measured():
    drive = Drive(np.array([*[0.0] * 8, 0.2, 0.1]), T_MS * MS, T_MS * MS)
    state, here = GuardState(engaged=True, drive=drive), somewhere(WHEELS)
    assert standing(state, None, WHEELS, T_MS * MS) is None
    found = standing(state, here, WHEELS, (T_MS + 60) * MS)
    assert found.values.tolist() == [*here[:8].tolist(), 0.2, 0.1], "wheels may turn already"
    assert found.velocity.tolist() == [0.0] * 6
    assert (1e3 * found.dt_s, 1e3 * found.lapse_s) == pytest.approx((20, 20))
    assert not found.seen


@pytest.mark.parametrize("late_ms", [0, 10, 20, 30, 40, 70, 150])
def test_a_trajectory_is_joined_where_its_controller_will_be(late_ms):
    """Reckoned with numbers alone: a cubic from the setpoint, two periods after the stamp, to rest."""
    found = stands(PATHS, late_ms, here=somewhere(PATHS))
    way = joint_way(PATHS.layout.parts[0], somewhere(PATHS)[:7], speeds(PATHS), 20 * MS)
    dt_ms = min(late_ms, 20)
    joined_ms = late_ms + 40 - dt_ms  # the next setpoint is reached dt later
    start_ms, stop_ms = way.times_ns[0] / MS, way.times_ns[1] / MS
    span_s, u = (stop_ms - start_ms) / 1e3, (joined_ms - start_ms) / (stop_ms - start_ms)
    u = min(max(u, 0.0), 1.0)
    x0, x1, v0 = way.positions[0], way.positions[1], way.velocities[0]
    a, b = 2 * (x0 - x1) + span_s * v0, 3 * (x1 - x0) - 2 * span_s * v0
    assert found.values[:7] == pytest.approx(x0 + u * span_s * v0 + u * u * (b + u * a))
    assert found.velocity == pytest.approx(v0 + (2 * b * u + 3 * a * u * u) / span_s)
    assert 1e3 * found.dt_s == pytest.approx(dt_ms)


@pytest.mark.parametrize(("late_ms", "seen"), [(100, False), (101, True)])
def test_servo_stops_when_its_time_is_out_where_it_is_measured(late_ms, seen):
    here = moved(SERVO, 0.04)
    found = stands(SERVO, late_ms, here=here)
    assert found.seen == seen
    assert found.values.tolist() == (here if seen else somewhere(SERVO)).tolist()
    assert (stands(SERVO, late_ms) is None) == seen, "not measured: nobody knows"
    assert not stands(TOOL, late_ms, here=here).seen, "a controller of poses reaches it"


@pytest.mark.parametrize(
    ("robot", "column", "late_ms", "goes_on"),
    [
        (TWIST, 0, 100, True),
        (TWIST, 0, 101, False),
        (WHEELS, 8, 500, True),
        (WHEELS, 8, 501, False),
    ],
)
def test_a_velocity_goes_on_until_its_controller_s_time_is_out(robot, column, late_ms, goes_on):
    values = np.zeros(len(robot.layout.names))
    values[column] = 0.2
    drive, now_ns = Drive(values, T_MS * MS, (T_MS - 1) * MS), (T_MS + late_ms) * MS
    found = drive_now(GuardState(drive=drive), robot, now_ns)
    assert found.values[column] == (0.2 if goes_on else 0.0)
    assert found.moved_ns == (drive.moved_ns if goes_on else now_ns)
    assert found.stamp_ns == drive.stamp_ns
    told = stands(robot, late_ms, here=somewhere(robot), drive=drive)
    assert told.values[column] == found.values[column]
    assert drive_now(GuardState(), robot, now_ns) is None
    still = replace(drive, values=0 * values)
    assert drive_now(GuardState(drive=still), robot, now_ns) is still


@pytest.mark.parametrize(
    ("robot", "groups"),
    [(TOOL, []), (PATHS, []), (WHEELS, ["base"]), (TWIST, ["arm"]), (SERVO, ["arm"])],
)
def test_only_what_needs_commands_to_go_on_runs_out_of_time(robot, groups):
    silent = [part.group for part in robot.layout.parts if timed_out(part, robot, 10 * 1000 * MS)]
    assert silent == groups


@pytest.mark.parametrize(("after_ms", "lapse_ms"), [(-5, 0), (0, 0), (13, 13), (20, 20), (21, 20)])
def test_a_velocity_changes_for_one_period_at_most(after_ms, lapse_ms):
    drive = Drive(np.zeros(10), T_MS * MS, 0)
    found_s = drive_lapse_s(drive, WHEELS, (T_MS + after_ms) * MS)
    assert 1e3 * found_s == pytest.approx(lapse_ms)
    assert 1e3 * drive_lapse_s(None, WHEELS, T_MS * MS) == pytest.approx(20)


STOPS_MS = sent(PATHS).ways["arm"].times_ns[1] / MS


def test_when_an_arm_is_seen_at_rest():
    """0.2 s after a setpoint; 0.1 s behind the end of its way to rest, if that is later."""
    assert rest_ns(sent(TOOL)) == (T_MS + 200) * MS
    assert STOPS_MS < 100
    assert rest_ns(sent(PATHS)) == (T_MS + 200) * MS
    slow = replace(
        sent(PATHS), ways={"arm": replace(sent(PATHS).ways["arm"], times_ns=(1, 300 * MS, 2))}
    )
    assert rest_ns(slow) == (T_MS + 400) * MS


@pytest.mark.parametrize(
    ("settled_ms", "sent_too", "driven_ms", "at_ms", "rested"),
    [
        (0, False, None, 0, True),
        (500, False, None, 499, False),
        (500, False, None, 500, True),
        (0, True, None, T_MS + 199, False),
        (0, True, None, T_MS + 200, True),
        (0, False, 300, 499, False),
        (0, False, 300, 500, True),
        (T_MS + 300, True, None, T_MS + 250, False),
        (0, True, T_MS + 50, T_MS + 220, False),
    ],
)  # fmt: skip
def test_since_when_nothing_has_moved(settled_ms, sent_too, driven_ms, at_ms, rested):
    drive = None if driven_ms is None else Drive(np.zeros(8), driven_ms * MS, driven_ms * MS)
    state = GuardState(
        sent=sent(TOOL) if sent_too else None, settled_ns=settled_ms * MS, drive=drive
    )
    assert rested_since(state, at_ms * MS) == rested


def test_where_an_arm_came_to_rest_is_what_is_measured_then():
    state, here = GuardState(sent=sent(TOOL)), moved(TOOL, -0.004)
    rest = (T_MS + 200) * MS
    assert settled(state, here, rest - 1) is state, "it may still move"
    assert settled(state, None, rest) is state
    assert settled(GuardState(), here, rest) == GuardState()
    found = settled(state, here, rest)
    assert found.sent.rested.tolist() == here.tolist()
    assert settled(found, moved(TOOL, 0.2), rest + 1) is found, "only once"


@pytest.mark.parametrize(
    ("robot", "here", "away"),
    [
        (TOOL, moved(TOOL, 0.0029), False),
        (TOOL, moved(TOOL, -0.0031), True),
        (TOOL, yawed(0.0049), False),
        (TOOL, yawed(-0.0051), True),
        (PATHS, moved(PATHS, -0.0049), False),
        (PATHS, moved(PATHS, 0.0051), True),
        (PATHS, moved(PATHS, -0.0051), True),
        (TOOL, None, True),
    ],
)
def test_an_arm_at_rest_that_is_measured_elsewhere_was_led_away(robot, here, away):
    """By more than 3 mm or 0.005 rad."""
    rested, rest = sent(robot, rested=somewhere(robot)), (T_MS + 200) * MS
    part = robot.layout.parts[0]
    assert led_away(part, rested, here, rest) == away
    assert not led_away(part, rested, here, rest - 1), "it was measured before it came to rest"
    assert led_away(part, sent(robot), somewhere(robot), rest), "nobody has seen where it did"


@pytest.mark.parametrize(("by", "seen"), [(0.002, False), (0.02, True)])
def test_an_arm_that_was_led_away_starts_from_where_it_is(by, seen):
    here = moved(TOOL, by)
    late = {"here": here, "rested": somewhere(TOOL)}
    found = stands(TOOL, 300, **late)
    assert found.seen == seen
    assert found.values.tolist() == (here if seen else somewhere(TOOL)).tolist()
    # What was measured while it still moved says nothing.
    assert not stands(TOOL, 300, here_ms=T_MS + 199, **late).seen
    assert stands(TOOL, 300, here_ms=T_MS + 200, **late).seen == seen
    assert stands(TOOL, 300) is None, "nobody has seen where it came to rest"


@pytest.mark.parametrize(
    ("robot", "here", "away"),
    [
        (TOOL, moved(TOOL, 0.0099), False),
        (TOOL, moved(TOOL, -0.0101), True),
        (TOOL, yawed(-0.0199), False),
        (TOOL, yawed(0.0201), True),
        (PATHS, moved(PATHS, -0.0199), False),
        (PATHS, moved(PATHS, 0.0201), True),
        (PATHS, moved(PATHS, -0.0201), True),
        (TOOL, moved(TOOL, np.nan), True),
        (PATHS, moved(PATHS, np.nan), True),
    ],
)
def test_what_gravity_does_to_a_setpoint_is_not_elsewhere(robot, here, away):
    assert elsewhere(robot.layout.parts[0], somewhere(robot), here) == away


@pytest.mark.parametrize(
    ("joint_ns", "ee_ns", "stamp_ns"), [(3, 5, 3), (5, 3, 3), (None, 5, 5), (5, None, 5), (None, None, 9)]
)  # fmt: skip
def test_an_action_is_as_old_as_the_oldest_of_what_it_is_made_of(joint_ns, ee_ns, stamp_ns):
    assert measured_ns(RobotState(joint_ns=joint_ns, ee_ns=ee_ns), 9) == stamp_ns


def test_where_arms_are_told_to_be_and_how_fast():
    values, velocity = told_now(sent(TOOL), (T_MS + 30) * MS, TOOL.layout)
    assert values.tolist() == somewhere(TOOL).tolist() and velocity.tolist() == [0.1] * 6
    late = told_now(sent(TOOL), (T_MS + 300) * MS, TOOL.layout)
    assert late[1].tolist() == [0.1] * 6, "no tick has told it to stand meanwhile"
    held = sent(TOOL, repeated_ms=T_MS + 20)
    assert told_now(held, (T_MS + 30) * MS, TOOL.layout)[1] is None, "it was told to stand"


@pytest.mark.parametrize(("after_ms", "moves"), [(30, True), (199, True), (200, False)])
@pytest.mark.parametrize("repeated_ms", [None, T_MS + 20])
def test_a_trajectory_moves_until_it_is_seen_at_rest(after_ms, moves, repeated_ms):
    last = sent(PATHS, repeated_ms=repeated_ms)
    values, velocity = told_now(last, (T_MS + after_ms) * MS, PATHS.layout)
    assert (velocity is not None) == moves
    way = last.ways["arm"]
    assert values[7:].tolist() == somewhere(PATHS)[7:].tolist()
    end = way.positions[1] if after_ms >= STOPS_MS else way.positions[0]
    assert values[:7] == pytest.approx(end, abs=0.002 if after_ms < 40 else 1e-12)
    assert (values[:7] != somewhere(PATHS)[:7]).any() == (after_ms > 40)
    assert VELOCITY not in {part.kind for part in PATHS.layout.parts}
