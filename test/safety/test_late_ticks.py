"""Commands that come late: what the controllers play meanwhile, and what they are told then.

Judged by what a trajectory controller plays (trajectory_player.py), not by what the guard says it does.
"""

import copy
import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import GRIPPER, JOINTS, POSE, layout_of
from vla_policy.execution.stopping_trajectory import at, joint_way
from vla_policy.execution.to_absolute import is_relative
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.safety import guard_state
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.rate_limits import arm_motions, motion
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.types import ActionChunk, Level, RobotState

_spec = importlib.util.spec_from_file_location(
    "trajectory_player", Path(__file__).parents[1] / "helpers" / "trajectory_player.py"
)
player = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(player)

MS = 1_000_000
SAMPLE_MS = 1
RISE_S = 0.6
SPEED = 0.5  # of the limits
SPEEDS_UP = (
    1.5  # of the acceleration limit, in the middle of a cubic between setpoints that keep it
)


def robot_of(name):
    embodiment = load_embodiment(name)
    embodiment = replace(
        embodiment, model=None, limits=replace(embodiment.limits, engage_fade_s=0.0)
    )
    return GuardedRobot(embodiment, layout_of(embodiment))


TRAJECTORY_ROBOTS = {
    name: robot_of(name) for name in ("aloha", "fr3", "tiago", "ur5e_2f85", "xarm7")
}


class Cell:
    """A robot whose arms are played by trajectory controllers; what they do is kept every millisecond."""

    def __init__(self, robot):
        self.robot, self.control, self.now_ms = robot, Control(), 10_000
        self.start = self.action = self.middle()
        self.arms = robot.layout.of_kind(JOINTS)
        self.played = {
            p.group: player.TrajectoryController(self.action[p.columns]) for p in self.arms
        }
        self.sequence, self.out = 0, []
        self.samples = {p.group: [] for p in self.arms}
        self.control, refusal = core.engage(self.control, robot, self.inputs(), self.now_ns)
        assert refusal is None

    def copied(self):
        """The same cell, which goes on by itself; what is only replaced is shared."""
        other = copy.copy(self)
        other.played = {group: copy.copy(played) for group, played in self.played.items()}
        other.samples = {group: list(samples) for group, samples in self.samples.items()}
        other.out = list(self.out)
        return other

    @property
    def now_ns(self):
        return self.now_ms * MS

    def middle(self):
        values = np.zeros(len(self.robot.layout.names))
        for part in self.robot.layout.of_kind(JOINTS, GRIPPER):
            values[part.columns] = (part.lower + part.upper) / 2
        return values

    def inputs(self):
        cameras = dict.fromkeys(self.robot.embodiment.cameras, self.now_ns)
        return InputStamps(self.now_ns, self.now_ns, cameras)

    def state(self):
        joints = np.zeros(len(self.robot.embodiment.joint_names))
        for part in self.arms:
            joints[list(part.joints)] = self.played[part.group].at(self.now_ms / 1e3)[0]
        hands = {
            p.source: float(self.start[p.columns][0]) for p in self.robot.layout.of_kind(GRIPPER)
        }
        return RobotState(joints, self.now_ns, grippers=hands)

    def here(self):
        return core.measured_action(self.robot.layout, self.state())

    def send_way(self, seconds=2.0, *, moving=False):
        """A straight way from where the robot is, to SPEED of the limits or at it from the first row on."""
        robot = self.robot.embodiment
        step_s = robot.step_ns / 1e9
        count = round(seconds / step_s)
        paces = np.minimum(np.arange(1, count + 1) * step_s / RISE_S, 1.0)
        ways = np.cumsum(np.ones(count) if moving else paces)[:, None] * step_s
        rows = np.tile(self.here(), (count, 1))
        for part in self.arms:
            way = SPEED * part.limits.joint_speed_per_s * ways
            if is_relative(robot):
                rows[:, part.columns] = np.diff(way, axis=0, prepend=0.0)
            else:
                rows[:, part.columns] += way
        chunk = ActionChunk(
            rows, robot.action_names, self.now_ns, robot.step_ns, self.sequence, "go"
        )
        self.sequence += 1
        self.control, reason = core.accept(
            self.control, self.robot, self.state(), chunk, self.now_ns
        )
        return reason

    def tick(self, after_ms=20):
        """One tick of the control path, after_ms after the one before."""
        self.pass_ms(after_ms)
        self.control, verdict = core.tick(
            self.control, self.robot, self.state(), self.inputs(), self.now_ns
        )
        self.play(verdict.command)
        return verdict

    def play(self, command):
        self.out.append(command)
        for part in self.arms:
            if command is not None and part.names[0] in command.names:
                start = command.names.index(part.names[0])
                own = slice(start, start + len(part.names))
                way = joint_way(
                    part, command.values[own], command.rates[own], self.robot.embodiment.period_ns
                )
                self.played[part.group].take(self.now_ms / 1e3, way, command.stamp_ns)

    def pass_ms(self, count):
        for _ in range(0, count, SAMPLE_MS):
            for part in self.arms:
                self.samples[part.group].append(self.played[part.group].at(self.now_ms / 1e3))
            self.now_ms += SAMPLE_MS

    def assert_smooth(self):
        """No arm went backwards, faster than allowed, or speeded up faster than allowed."""
        for part in self.arms:
            _, v, a = (np.array(s) for s in zip(*self.samples[part.group], strict=True))
            limits = part.limits
            assert v.min() >= -1e-9, f"{part.group} runs backwards: {v.min():.3f}"
            share = (np.abs(v) / limits.joint_speed_per_s).max()
            assert share <= 1.01, f"{part.group} at {share:.3f} of its speed"
            speeding = (a / limits.joint_acceleration_per_s2).max()
            assert speeding <= SPEEDS_UP, f"{part.group} speeds up at {speeding:.2f} of its limit"

    def worst_braking(self):
        """The hardest braking as a share of the acceleration limits."""
        found = []
        for part in self.arms:
            v, a = (np.array([s[k] for s in self.samples[part.group]]) for k in (1, 2))
            found.append((-np.sign(v) * a / part.limits.joint_acceleration_per_s2).max())
        return max(found)


@cache
def moving_cell(name):
    found = Cell(TRAJECTORY_ROBOTS[name])
    found.tick()
    assert found.send_way() is None
    for _ in range(45):
        verdict = found.tick()
    assert verdict.command is not None
    v = found.played[found.arms[0].group].at(found.now_ms / 1e3)[1]
    assert (v > 0.4 * found.arms[0].limits.joint_speed_per_s).all(), "it is in motion"
    return found


@pytest.fixture(params=sorted(TRAJECTORY_ROBOTS))
def cell(request):
    """A robot with trajectory outputs in the middle of a straight way."""
    return moving_cell(request.param).copied()


@pytest.mark.parametrize("late_ms", [21, 39, 45, 60, 100, 170, 250, 400, 900])
def test_a_late_command_goes_on_from_where_the_controller_is(cell, late_ms):
    """By then it is on its way to rest: a command that starts from the last setpoint would pull it back."""
    cell.tick(late_ms)
    for _ in range(20):
        cell.tick()
    assert len(cell.out) > 60
    cell.assert_smooth()


@pytest.mark.parametrize("late_ms", [20, 60, 250, 400])
def test_a_hold_after_a_gap_does_not_pull_the_arm_back(cell, late_ms):
    cell.control = replace(
        cell.control, timeline=core.plan.emptied(cell.control.timeline, cell.now_ns)
    )
    for after_ms in (late_ms, *[20] * 40):
        verdict = cell.tick(after_ms)
        assert verdict.reasons[0].code == "no_chunk"
    cell.assert_smooth()
    assert cell.worst_braking() <= SPEEDS_UP, "it comes to rest on the way that it was sent with"


@pytest.mark.parametrize("late_ms", [60, 250, 700])
def test_a_chunk_that_comes_after_a_gap_starts_from_where_the_controller_is(cell, late_ms):
    cell.pass_ms(late_ms)
    assert cell.send_way(moving=True) is None  # before the late tick, as an executor may have it
    for after_ms in (0, *[20] * 20):
        cell.tick(after_ms)
    cell.assert_smooth()


@pytest.mark.parametrize("between_ms", [20, 100, 400])
@pytest.mark.parametrize("how", ["engage again", "clock back"])
def test_who_engages_again_at_once_waits_for_the_arm_to_come_to_rest(cell, how, between_ms):
    """It still moves, so neither where it is measured nor rest is where a first command starts."""
    if how == "engage again":
        cell.control = core.disengage(cell.control, cell.now_ns)
        cell.tick(between_ms)
        cell.control, refusal = core.engage(cell.control, cell.robot, cell.inputs(), cell.now_ns)
        assert refusal is None
    else:
        cell.control = replace(cell.control, now_ns=cell.now_ns + 50 * MS)
        assert cell.tick().reasons[0].code == "clock_jump"
        cell.tick(between_ms)
    cell.tick()
    if between_ms == 20:
        assert cell.send_way().code == "chunk_old", "it was seen while the arm still moved"
        assert cell.control.guard.settled_ns > cell.now_ns
    while cell.now_ns <= cell.control.guard.settled_ns:
        command = cell.tick().command
        assert command is None or not set(command.names) & set(cell.arms[0].names)
    assert cell.send_way() is None
    for _ in range(40):
        cell.tick()
    cell.assert_smooth()
    assert cell.out[-1] is not None, "then it moves"


def test_no_setpoint_goes_to_an_arm_that_still_comes_to_rest():
    robot = TRAJECTORY_ROBOTS["fr3"]
    cell = Cell(robot)
    state = replace(guard_state.engage(GuardState()), settled_ns=cell.now_ns + 1)
    for now_ns, code in ((cell.now_ns, "settling"), (cell.now_ns + 1, None)):
        _, verdict = check(
            state,
            robot,
            cell.action,
            here=cell.action,
            seen=cell.state(),
            faults=(),
            now_ns=now_ns,
        )
        assert [reason.code for reason in verdict.reasons] == ([code] if code else [])
        assert (verdict.command is None) == (code is not None)


def test_an_arm_that_came_to_rest_beyond_its_last_setpoint_was_not_moved_by_others(cell):
    """The fastest joints roll out further than a start may be off."""
    cell.control = replace(
        cell.control, timeline=core.plan.emptied(cell.control.timeline, cell.now_ns)
    )
    for _ in range(100):
        assert cell.tick().reasons[0].code == "no_chunk"
    away = replace(cell.state(), joint_positions=cell.state().joint_positions + 0.5)
    cell.now_ms += 20
    _, verdict = core.tick(cell.control, cell.robot, away, cell.inputs(), cell.now_ns)
    assert verdict.reasons[0].code == "moved_away", "but then a hand is noticed at once"


def test_the_message_and_the_guard_have_the_same_way():
    """What JointTarget sends is what the guard goes on from: both come from joint_way."""
    robot = TRAJECTORY_ROBOTS["fr3"]
    cell = Cell(robot)
    cell.tick()
    cell.send_way()
    for _ in range(30):
        command = cell.tick().command
    part = cell.arms[0]
    way = joint_way(part, command.values[part.columns], command.rates[part.columns], 20 * MS)
    kept = cell.control.guard.sent.ways["arm"]
    assert kept.times_ns == way.times_ns
    assert (kept.positions == way.positions).all() and (kept.velocities == way.velocities).all()
    x, v = at(kept, 150 * MS)
    played = player.TrajectoryController(np.zeros(7))
    played.take(0.0, way, 0)
    assert x == pytest.approx(played.at(0.15)[0]) and v == pytest.approx(played.at(0.15)[1])
    assert at(kept, 10**10)[1].tolist() == [0.0] * 7


ARMS = {name: robot_of(name) for name in ("so101", "vx300s", "vx300s_pair")}


@pytest.mark.parametrize("name", sorted(ARMS))
def test_a_first_command_starts_from_where_each_arm_is_measured(name):
    """Also where an arm stands a little outside its limits: it goes in at the speed of any motion."""
    robot = ARMS[name]
    layout = robot.layout
    here = np.zeros(len(layout.names))
    for part in layout.of_kind(JOINTS, GRIPPER):
        here[part.columns] = (part.lower + part.upper) / 2
        if part.kind == JOINTS:
            here[part.columns] = part.upper + 0.04
    for part in layout.of_kind(POSE):
        here[part.position] = part.limits.workspace.upper + 0.03
        here[part.rotation] = [0.0, 0.0, 0.0, 1.0]
    period_s = robot.embodiment.period_ns / 1e9
    state, stands = guard_state.engage(GuardState()), here
    for tick in range(60):
        state, verdict = check(
            state, robot, here, here=stands, seen=RobotState(), faults=(),
            now_ns=10**9 + tick * robot.embodiment.period_ns,
        )  # fmt: skip
        for part, way in arm_motions(motion(stands, verdict.command.values, layout), layout):
            if part.kind == JOINTS:
                assert (np.abs(way) <= part.limits.joint_speed_per_s * period_s + 1e-9).all()
            else:
                assert np.linalg.norm(way[:3]) <= part.limits.linear_speed_m_s * period_s + 1e-9
        if tick == 0:
            assert np.abs(verdict.command.values - here).max() < 0.005, "from rest"
        stands = verdict.command.values
    for part in layout.of_kind(JOINTS):
        assert (stands[part.columns] <= part.upper).all()
    for part in layout.of_kind(POSE):
        assert (stands[part.position] <= part.limits.workspace.upper).all()


def test_a_controller_of_positions_stands_after_a_gap_and_speeds_up_from_rest():
    robot = ARMS["so101"]
    part = robot.layout.of_kind(JOINTS)[0]
    period_ns, state = robot.embodiment.period_ns, guard_state.engage(GuardState())
    here = (part.lower + part.upper) / 2
    here = np.concatenate((here, np.zeros(len(robot.layout.names) - len(here))))
    now_ns, target = 10**9, np.array(here)
    for _ in range(30):
        now_ns += period_ns
        target[part.columns] += 0.5 * part.limits.joint_speed_per_s * period_ns / 1e9
        here = target if state.sent is None else state.sent.values
        state, verdict = check(
            state, robot, target, here=here, seen=RobotState(), faults=(), now_ns=now_ns
        )
    before = verdict.command.values[part.columns]
    now_ns += 5 * period_ns
    target[part.columns] += 1.0
    _, verdict = check(
        state, robot, target, here=state.sent.values, seen=RobotState(), faults=(), now_ns=now_ns
    )
    step = np.abs(verdict.command.values[part.columns] - before)
    dt_s = period_ns / 1e9
    assert (step <= part.limits.joint_acceleration_per_s2 * dt_s**2 + 1e-9).all()


@pytest.mark.parametrize(("led", "starts_there"), [(0.0, False), (0.002, False), (0.15, True)])
def test_an_arm_at_rest_that_others_move_a_little_starts_from_where_it_is(led, starts_there):
    """Gravity keeps it a little below its setpoint: that alone is no reason to give the setpoint up."""
    robot = ARMS["so101"]
    part = robot.layout.of_kind(JOINTS)[0]
    target = np.zeros(len(robot.layout.names))
    target[part.columns] = (part.lower + part.upper) / 2
    sags = np.array(target)
    sags[part.columns] -= 0.03
    period_ns, now_ns, state = robot.embodiment.period_ns, 10**9, guard_state.engage(GuardState())

    def tick(state, proposed, here):
        return check(
            state, robot, proposed, here=here, seen=RobotState(), faults=(), now_ns=now_ns
        )

    state, _ = tick(state, target, target)
    for _ in range(30):
        now_ns += period_ns
        state, verdict = tick(state, None, sags)
        assert verdict.reasons[0].code == "no_chunk"
    elsewhere = np.array(sags)
    elsewhere[part.columns] += led
    now_ns += period_ns
    state, verdict = tick(state, target, elsewhere)
    if starts_there:  # not while it may still be led
        assert verdict.reasons[0].code == "settling"
        for _ in range(12):
            now_ns += period_ns
            state, verdict = tick(state, None, elsewhere)
        now_ns += period_ns
        _, verdict = tick(state, target, elsewhere)
    start = elsewhere if starts_there else target
    step = np.abs(verdict.command.values - start)[part.columns]
    assert (step <= part.limits.joint_acceleration_per_s2 * (period_ns / 1e9) ** 2 + 1e-9).all()
    assert step.any() == starts_there


def test_one_wild_measurement_at_rest_is_no_place_to_start_from():
    robot = ARMS["vx300s"]
    here = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
    state, _ = check(
        guard_state.engage(GuardState()), robot, here, here=here, seen=RobotState(), faults=(), now_ns=10**9
    )  # fmt: skip
    wild = here + np.array([0.2, 0, 0, 0, 0, 0, 0, 0])
    _, verdict = check(
        state, robot, here, here=wild, seen=RobotState(), faults=(), now_ns=10**9 + 300 * MS
    )
    assert (verdict.level, verdict.reasons[-1].code) == (Level.HOLD, "start_jump")
    assert verdict.command.names == ("gripper",), "it is told nothing of where it may not be"


def test_servo_that_has_stopped_short_of_a_pose_is_not_sent_there_by_a_hold():
    """After its time-out it stands where it is measured; the last target may lie far ahead."""
    outputs = dict(ARMS["vx300s"].embodiment.outputs)
    outputs["arm"] = replace(outputs["arm"], type="servo_pose", servo="servo_node")
    embodiment = replace(ARMS["vx300s"].embodiment, outputs=MappingProxyType(outputs))
    robot = GuardedRobot(embodiment, ARMS["vx300s"].layout)
    here = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
    state, target = guard_state.engage(GuardState()), np.array(here)
    for tick in range(20):
        target[0] += 0.004
        lag = np.array(target)
        lag[0] = max(0.3, target[0] - 0.03)
        state, verdict = check(
            state,
            robot,
            target,
            here=lag,
            seen=RobotState(),
            faults=(),
            now_ns=(1000 + 20 * tick) * MS,
        )
    assert verdict.command.values[0] - lag[0] > 0.02
    now_ns = (1000 + 20 * 19 + 150) * MS
    _, held = check(state, robot, None, here=lag, seen=RobotState(), faults=(), now_ns=now_ns)
    assert held.command.names == ("gripper",)
    _, moves = check(state, robot, target, here=lag, seen=RobotState(), faults=(), now_ns=now_ns)
    assert moves.command.values[0] - lag[0] <= 6.0 * 0.04**2 + 1e-9, "from where it is, from rest"


def test_where_servo_stopped_is_not_known_from_before_it_stopped():
    """The process stood for 150 ms, and no newer pose has come: from the old one it would start far behind."""
    outputs = dict(ARMS["vx300s"].embodiment.outputs)
    outputs["arm"] = replace(outputs["arm"], type="servo_pose", servo="servo_node")
    embodiment = replace(ARMS["vx300s"].embodiment, outputs=MappingProxyType(outputs))
    robot = GuardedRobot(embodiment, ARMS["vx300s"].layout)
    here = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])

    def tick(state, proposed, pose, now_ms, seen_ms):
        seen = RobotState(ee_ns=seen_ms * MS)
        return check(state, robot, proposed, here=pose, seen=seen, faults=(), now_ns=now_ms * MS)

    state, target = guard_state.engage(GuardState()), np.array(here)
    for k in range(20):
        target[0] += 0.004
        state, _ = tick(state, target, target, 1000 + 20 * k, 1000 + 20 * k)
    behind = np.array(target)
    behind[0] -= 0.02
    for now_ms in (1530, 1550):  # 150 and 170 ms after the last command
        state, verdict = tick(state, target, behind, now_ms, 1340)
        assert verdict.reasons[0].code == "no_position"
        assert verdict.command is None or "ee.x" not in verdict.command.names
    stopped = np.array(target)
    stopped[0] -= 0.002
    state, verdict = tick(state, target, stopped, 1570, 1560)
    assert state.gone.since_ns == 1570 * MS, "it begins to move again, and is looked at for that"
    step = verdict.command.values[0] - stopped[0]
    assert 0.0 < step <= 6.0 * 0.02**2 + 1e-9, "from where it stopped, from rest"
