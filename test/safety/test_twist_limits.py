"""A tool that is driven by its velocity stops inside its boxes, whatever comes after: numbers by hand, and random rides."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.embodiment import Workspace, load_embodiment
from vla_policy.embodiment.layout import Layout
from vla_policy.safety import guard_state
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.robot import GuardedRobot, robot_of
from vla_policy.safety.twist_limits import leaves, reach, tools
from vla_policy.types import Level, RobotState

MS = 1_000_000
BOX = Workspace(np.array([0.35, -0.10, 0.0]), np.array([0.55, 0.10, 0.30]))
SERVO = load_embodiment("ur5e_servo")
BOXED = robot_of(replace(SERVO, limits=replace(SERVO.limits, keep_out=(BOX,))))
WIDTH = len(BOXED.layout.names)
PERIOD_NS = SERVO.period_ns
TIMEOUT_NS = 100 * MS  # of MoveIt Servo


def action(*linear):
    return np.array([*linear, *[0.0] * (WIDTH - len(linear))])


def seen_at(position, ns=None):
    return RobotState(poses={"ee": np.array([*position, 0.0, 0.0, 0.0, 1.0])}, ee_ns=ns)


def test_how_far_a_tool_may_get():
    part = tools(BOXED)[0]
    brake = part.limits.linear_acceleration_m_s2
    position = np.array([0.2, 0.0, 0.4])
    now, then = reach(BOXED, part, position, action(0.1), action(0.2), 0.05)
    assert now[0] == pytest.approx(0.2 + 0.1 * 0.05)
    assert then[0] - now[0] == pytest.approx(0.2 * (PERIOD_NS / 1e9 + 0.1) + 0.04 / (2 * brake))
    assert (now[1:] == position[1:]).all() and (then[1:] == position[1:]).all()
    still, _ = reach(BOXED, part, position, action(), action(0.2), 0.25)
    assert (still == position).all()


@pytest.mark.parametrize(
    ("position", "velocity", "code"),
    [
        ((0.32, 0.0, 0.15), (0.2, 0.0, 0.0), "keep_out"),
        ((0.30, 0.0, 0.15), (-0.2, 0.0, 0.0), None),
        ((0.30, 0.0, 0.15), (0.0, 0.0, 0.0), None),
        ((0.345, 0.0, 0.15), (0.0, 0.2, 0.0), None),  # along its face
        ((0.36, 0.0, 0.15), (-0.2, 0.0, 0.0), None),  # inside, and out of it
        ((0.36, 0.0, 0.15), (0.05, 0.0, 0.0), "keep_out"),  # inside, and deeper
        ((0.45, 0.0, 0.15), (0.0, 0.0, 0.0), None),  # inside, and standing still
        ((0.45, 0.0, 0.33), (0.0, 0.0, -0.2), "keep_out"),
    ],
)
def test_a_box_is_not_entered_and_may_be_left(position, velocity, code):
    found = leaves(BOXED, action(), action(*velocity), seen_at(position, 1000 * MS), 1000 * MS)
    assert (None if found is None else found.code) == code


def test_a_tool_whose_pose_is_unknown_is_not_driven():
    found = leaves(BOXED, action(), action(), RobotState(), 1000 * MS)
    assert (found.code, found.detail) == ("no_position", "the pose of ee has not been measured")


def test_near_a_box_a_tool_is_slowed_before_it_is_held():
    state, near = guard_state.engage(GuardState()), seen_at((0.32, 0.0, 0.15), 1000 * MS)
    slow = None
    for tick in range(60):
        now_ns = 1000 * MS + tick * PERIOD_NS
        state, slow = check(
            state, BOXED, action(0.2), here=action(), seen=replace(near, ee_ns=now_ns), faults=(), now_ns=now_ns
        )  # fmt: skip
    assert slow.level is Level.SLOW and slow.reasons[-1].code == "keep_out"
    assert 0.0 < slow.command.values[0] < 0.2
    at = replace(seen_at((0.3495, 0.0, 0.15)), ee_ns=2000 * MS)
    _, held = check(
        guard_state.engage(GuardState()), BOXED, action(0.2), here=action(), seen=at, faults=(), now_ns=2000 * MS
    )  # fmt: skip
    assert held.level is Level.HOLD and held.reasons[-1].code == "keep_out"


def ride(robot, wanted, place, ticks=60):
    """Verdicts on a tool that is wanted to drive on where it is always measured at the same place."""
    state, verdicts = guard_state.engage(GuardState()), []
    for tick in range(ticks):
        now_ns = 1000 * MS + tick * PERIOD_NS
        state, verdict = check(
            state, robot, wanted, here=action(), seen=seen_at(place, now_ns), faults=(), now_ns=now_ns
        )  # fmt: skip
        verdicts.append(verdict)
    return verdicts


SPACE = tools(BOXED)[0].limits.workspace


def test_near_the_edge_of_its_workspace_a_tool_is_slowed_within_its_acceleration():
    """A third of what is wanted still stops inside, and is reached as fast as any speed."""
    place = (0.0, SPACE.upper[1] - 0.02, 0.4)
    verdicts = ride(BOXED, action(0.0, 0.2, 0.0, 0.0, 0.0, 0.5), place)
    speeds = [v.command.values[1] for v in verdicts]
    limits = tools(BOXED)[0].limits
    assert (
        np.diff([0.0, *speeds]).max() <= limits.linear_acceleration_m_s2 * PERIOD_NS / 1e9 + 1e-9
    )
    last = verdicts[-1]
    assert last.level is Level.SLOW
    assert last.reasons[-1].code == "workspace"
    assert last.reasons[-1].detail.endswith("else arm would leave the workspace along y")
    share = speeds[-1] / 0.2
    assert f"slowed to {share:.0%}" in last.reasons[-1].detail
    assert last.command.values[5] == pytest.approx(0.5), "it turns as it is wanted to"
    # What goes on for a period and the time-out, and brakes: the next larger share would leave.
    reach_m = lambda v: v * (PERIOD_NS / 1e9 + 0.1 + v / (2 * limits.linear_acceleration_m_s2))  # noqa: E731
    larger = min(s for s in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15) if s > share)
    assert reach_m(speeds[-1]) <= 0.02 < reach_m(larger * 0.2)


def test_a_tool_that_turns_off_before_the_edge_does_not_jump_to_another_direction():
    """Along it would be free at once, but it still goes towards it: its change is that of any speed."""
    limits = tools(BOXED)[0].limits
    state, before, now_ns = guard_state.engage(GuardState()), np.zeros(3), 1000 * MS
    for tick in range(70):
        far = tick < 60
        place = (0.0, SPACE.upper[1] - (0.3 if far else 0.012), 0.4)
        now_ns += PERIOD_NS
        wanted = action(0.0, 0.1) if far else action(0.2, 0.0)
        state, verdict = check(
            state, BOXED, wanted, here=action(), seen=seen_at(place, now_ns), faults=(), now_ns=now_ns
        )  # fmt: skip
        told = verdict.command.values[:3]
        change = np.linalg.norm(told - before)
        assert change <= limits.linear_acceleration_m_s2 * PERIOD_NS / 1e9 + 1e-9
        if tick == 60:
            assert before == pytest.approx([0.0, 0.1, 0.0])
            assert verdict.level > Level.PASS and 0.0 < told[1] < 0.1
        before = told


def test_a_tool_that_is_not_measured_is_held_not_slowed():
    _, verdict = check(
        guard_state.engage(GuardState()), BOXED, action(0.2), here=action(), seen=RobotState(),
        faults=(), now_ns=1000 * MS,
    )  # fmt: skip
    assert (verdict.level, [r.code for r in verdict.reasons][-1]) == (Level.HOLD, "no_position")


PLACE = (0.34, 0.0, 0.15)  # 1 cm before the box


@pytest.mark.parametrize(
    ("age_ms", "before", "code"),
    [
        (0, 0.0, None),
        (20, 0.0, None),
        (100, 0.0, "keep_out"),  # it may have speeded up since: 1.5 m/s^2 for 0.1 s are 7.5 mm
        (0, 0.2, None),
        (50, 0.2, "keep_out"),  # it is there by now
        (None, 0.0, "keep_out"),  # no stamp: as old as a pose may be
        (-30, 0.2, None),  # a clock that is ahead: as if it were of now
        (90_000, 0.0, "keep_out"),
    ],
)
def test_an_old_pose_is_reckoned_on(age_ms, before, code):
    stamp = None if age_ms is None else 1000 * MS - age_ms * MS
    found = leaves(BOXED, action(before), action(0.02), seen_at(PLACE, stamp), 1000 * MS)
    assert (None if found is None else found.code) == code


@pytest.mark.parametrize(("axis", "name"), [(0, "x"), (1, "y"), (2, "z")])
@pytest.mark.parametrize("upper", [False, True])
def test_no_side_of_the_workspace_is_left_and_outside_it_comes_back(axis, name, upper):
    edge, sign = (SPACE.upper, 1.0) if upper else (SPACE.lower, -1.0)
    middle = (SPACE.lower + SPACE.upper) / 2
    middle[:2] = 0.0, 0.35  # beside the box
    way = sign * np.eye(3)[axis]

    def judge(beyond_m, speed):
        place = np.array(middle)
        place[axis] = edge[axis] + sign * beyond_m
        return leaves(
            BOXED, action(), action(*(speed * way)), seen_at(place, 1000 * MS), 1000 * MS
        )

    found = judge(-0.01, 0.2)
    assert (found.code, found.detail) == (
        "workspace_far",
        f"arm would leave the workspace along {name}",
    )
    assert judge(-0.05, 0.2) is None
    assert judge(-0.01, 0.0) is None
    assert judge(0.1, 0.01).code == "workspace_far", "outside it does not go further out"
    assert judge(0.1, -0.2) is None
    assert judge(0.1, 0.0) is None


def depth(places, lower, upper):
    """How far inside a box, by its nearest face; negative outside. places: (..., 3)."""
    return np.minimum(places - lower, upper - places).min(axis=-1)


def plain(place, before, velocity, age_s):
    """What leaves() is to say, by a walk along the way; None where a millimetre decides."""
    now = place + before * age_s
    then = now + velocity * (PERIOD_NS / 1e9 + 0.1 + np.linalg.norm(velocity) / (2 * 1.5))
    grown_m = 0.5 * 1.5 * age_s**2
    for axis in range(3):
        low, high = SPACE.lower[axis] + grown_m, SPACE.upper[axis] - grown_m
        out_now, out_then = (max(low - p[axis], p[axis] - high, 0.0) for p in (now, then))
        if out_then > out_now:
            return "workspace_far" if out_then > out_now + 1e-3 else None
    lower, upper = BOX.lower - grown_m, BOX.upper + grown_m
    depths = depth(np.linspace(now, then, 400), lower, upper)
    close = abs(depths[0]) < 1e-3 or abs(max(depths)) < 1e-3 or abs(depths[-1] - depths[0]) < 1e-3
    if close:
        return None
    if depths[0] > 0.0:  # inside: only outwards
        return "free" if depths[-1] < depths[0] else "keep_out"
    return "keep_out" if max(depths) > 0.0 else "free"


def test_boxes_and_workspace_against_a_walk_along_the_way():
    rng, seen = np.random.default_rng(8), []
    middle, size = (BOX.lower + BOX.upper) / 2, BOX.upper - BOX.lower
    for k in range(1500):
        place = middle + rng.uniform(-0.7, 0.7, 3) * size
        if k % 3 == 0:
            place = rng.uniform(SPACE.lower - 0.02, SPACE.upper + 0.02)
        before, velocity = rng.uniform(-0.2, 0.2, 3), rng.uniform(-0.2, 0.2, 3)
        age_s = rng.choice([0.0, 0.05, 0.15])
        expected = plain(place, before, velocity, age_s)
        if expected is None:
            continue
        stamp_ns = 1000 * MS - round(age_s * 1e9)
        found = leaves(
            BOXED, action(*before), action(*velocity), seen_at(place, stamp_ns), 1000 * MS
        )
        assert (expected == "free") if found is None else (expected == found.code), (
            place,
            velocity,
        )
        seen.append((expected, depth(place, BOX.lower, BOX.upper) > 0.0))
    for case in (
        ("free", False),
        ("free", True),
        ("keep_out", False),
        ("keep_out", True),
        ("workspace_far", False),
    ):
        assert seen.count(case) > 30, case


@pytest.mark.parametrize(
    ("y", "vy", "leaves_it"),
    [
        (0.012, 0.01, True),
        (0.012, -0.001, False),
        (0.008, -0.01, True),
        (0.008, 0.001, False),
        (0.01, 0.0, False),
    ],
)
def test_a_workspace_that_is_smaller_than_what_is_unsure_is_its_middle(y, vy, leaves_it):
    """A pose 0.15 s old: the tool may be 1.7 cm from where it is reckoned to be."""
    narrow = Workspace(np.array([-0.6, 0.0, 0.05]), np.array([0.6, 0.02, 0.8]))
    limits = replace(SERVO.limits.groups["arm"], workspace=narrow)
    groups = {**SERVO.limits.groups, "arm": limits}
    robot = robot_of(replace(SERVO, limits=replace(SERVO.limits, groups=groups)))
    found = leaves(robot, action(), action(0, vy), seen_at((0.0, y, 0.4), 850 * MS), 1000 * MS)
    assert (found is not None) == leaves_it


def test_only_what_has_a_box_needs_to_be_measured():
    def robot(workspace, boxes):
        limits = replace(SERVO.limits.groups["arm"], workspace=workspace)
        groups = {**SERVO.limits.groups, "arm": limits}
        return robot_of(
            replace(SERVO, limits=replace(SERVO.limits, groups=groups, keep_out=boxes))
        )

    unseen, near = RobotState(), seen_at((0.34, 0.0, 0.15), 1000 * MS)
    judge = lambda r, seen: leaves(r, action(), action(0.2), seen, 1000 * MS)  # noqa: E731
    assert judge(robot(None, ()), unseen) is None
    assert judge(robot(SPACE, ()), unseen).code == "no_position"
    assert judge(robot(SPACE, ()), near) is None
    assert judge(robot(None, (BOX,)), unseen).code == "no_position"
    assert judge(robot(None, (BOX,)), near).code == "keep_out"
    assert judge(robot(None, (BOX,)), seen_at((5.0, 5.0, 5.0), 1000 * MS)) is None


def test_a_base_is_no_tool():
    mobile = load_embodiment("vx300s_mobile")
    robot = robot_of(replace(mobile, limits=replace(mobile.limits, keep_out=(BOX,))))
    assert tools(robot) == ()
    drives = np.array([*[0.0] * 8, 0.2, 0.1])
    assert leaves(robot, 0 * drives, drives, RobotState(), 1000 * MS) is None


def test_the_second_tool_is_judged_like_the_first():
    arm = tools(BOXED)[0]
    other = replace(arm, group="other", columns=slice(6, 12))
    layout = Layout((*arm.names, *(f"other.{n}" for n in arm.names)), (arm, other))
    outputs = {**SERVO.outputs, "other": SERVO.outputs["arm"]}
    two = GuardedRobot(replace(BOXED.embodiment, outputs=outputs), layout)
    near = seen_at((0.34, 0.0, 0.15), 1000 * MS)
    still, drives = np.zeros(12), np.array([*[0.0] * 6, 0.2, *[0.0] * 5])
    assert leaves(two, still, still, near, 1000 * MS) is None
    assert leaves(two, still, drives, near, 1000 * MS).detail == "other would enter keep-out box 0"
    assert (
        leaves(two, still, np.roll(drives, 6), near, 1000 * MS).detail
        == "arm would enter keep-out box 0"
    )


def test_the_axis_that_is_named_is_the_one_along_which_it_leaves():
    """Not the one along which it is outside already."""
    place = (SPACE.upper[0] + 0.2, SPACE.upper[1] - 0.001, 0.4)
    found = leaves(BOXED, action(), action(0.0, 0.1), seen_at(place, 1000 * MS), 1000 * MS)
    assert found.detail == "arm would leave the workspace along y"


directions = st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(directions, min_size=1, max_size=4),
    st.lists(st.sampled_from([1, 1, 1, 2, 8, 30]), min_size=20, max_size=20),
    st.integers(0, 100),
)
def test_no_ride_enters_the_box_or_leaves_the_workspace(ways, gaps, age_ms):
    """The tool does what it was last told until the time-out; commands come late, its pose is old."""
    part = tools(BOXED)[0]
    space = part.limits.workspace
    position, now_ns = np.array([0.25, 0.0, 0.4]), 10_000 * MS
    position = np.minimum(np.maximum(position, space.lower + 0.02), space.upper - 0.02)
    state, told, track = guard_state.engage(GuardState()), np.zeros(3), [(now_ns, position)]
    for tick in range(200):
        gap_ns = gaps[tick % len(gaps)] * PERIOD_NS
        for _ in range(gap_ns // (5 * MS)):
            moving = told if track[-1][0] - now_ns < TIMEOUT_NS else 0.0 * told
            track.append((track[-1][0] + 5 * MS, track[-1][1] + moving * 0.005))
        now_ns = track[-1][0]
        old_ns, old = next(
            t for t in reversed(track) if t[0] <= now_ns - age_ms * MS or t is track[0]
        )
        wanted = 0.4 * np.array(ways[tick * len(ways) // 200])
        state, verdict = check(
            state, BOXED, action(*wanted), here=action(), seen=seen_at(old, old_ns), faults=(), now_ns=now_ns
        )  # fmt: skip
        told = verdict.command.values[:3] if verdict.command is not None else told
    path = np.array([p for _, p in track])
    assert (path >= space.lower - 1e-6).all() and (path <= space.upper + 1e-6).all()
    assert not ((path > BOX.lower + 1e-6) & (path < BOX.upper - 1e-6)).all(axis=1).any()


@pytest.mark.parametrize("name", ["fr3", "aloha"])
def test_boxes_that_nothing_enforces_are_refused(name):
    robot = load_embodiment(name)
    boxed = replace(robot, model=None, limits=replace(robot.limits, keep_out=(BOX,)))
    with pytest.raises(ValueError, match=r"limits.keep_out: got boxes that nothing would enforce"):
        robot_of(boxed)
