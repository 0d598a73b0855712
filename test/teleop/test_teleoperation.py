"""A person at each device, through the control path and the guard, to an arm that does what it is told."""

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import GRIPPER, POSE, layout_of, measured_action, opening_of
from vla_policy.geometry.quaternions import turn_between
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.runtime.control_mode import TELEOP, TELEOPERATED
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.teleop.device import DeviceState, Heard
from vla_policy.teleop.device_file import load_device
from vla_policy.teleop.follower import follower_of, speed_limits
from vla_policy.teleop.teleoperation import Teleop, tick
from vla_policy.types import Level, RobotState, readonly

MS = 1_000_000
REST = {0: 0.0, 2: 1.0, 5: 1.0}


class Cell:
    """An arm that is where it is told to be, and a person at a device."""

    def __init__(self, robot, device):
        self.robot = load_embodiment(robot)
        self.device = load_device(device)
        self.guarded = GuardedRobot(self.robot, layout_of(self.robot))
        self.follower = follower_of(self.robot, self.device)
        self.layout = self.follower.layout
        self.teleop, self.control, self.now_ns = Teleop(), Control(), 5_000 * MS
        self.action = np.zeros(len(self.layout.names))
        for part in self.layout.of_kind(POSE):
            self.action[part.columns] = [0.35, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]
        for part in self.layout.of_kind(GRIPPER):
            self.action[part.columns] = 0.5
        self.control, refusal = core.engage(self.control, self.guarded, self.inputs(), self.now_ns)
        assert refusal is None
        self.control = core.set_mode(self.control, TELEOPERATED, self.now_ns)
        self.state, self.out, self.levels, self.rows = DeviceState(), [], [], []

    def inputs(self):
        return InputStamps(
            self.now_ns, self.now_ns, dict.fromkeys(self.robot.cameras, self.now_ns)
        )

    def measured(self):
        joints = np.zeros(len(self.robot.joint_names))
        poses, grippers = {}, {}
        for part in self.layout.parts:
            if part.kind == "joints":
                joints[list(part.joints)] = self.action[part.columns]
            elif part.kind == POSE:
                poses[part.source] = self.action[part.columns]
            elif part.kind == GRIPPER:
                grippers[part.source] = opening_of(
                    float(self.action[part.columns][0]), part.opens_up
                )
        return RobotState(joints, self.now_ns, poses, self.now_ns, grippers)

    def run(self, seconds, hear=None, *, mode=True):
        """The device tells hear() at each tick of 20 ms; the last level."""
        for _ in range(round(seconds / 0.02)):
            self.now_ns += 20 * MS
            if hear is not None:
                self.state = hear(self.now_ns)
            state = self.measured()
            here = measured_action(self.layout, state)
            self.teleop, chunk = tick(
                self.teleop, self.device, self.follower, self.state,
                here=here, teleoperated=mode, now_ns=self.now_ns,
            )  # fmt: skip
            if chunk is not None:
                self.rows.append(chunk.actions)
                self.control, reason = core.accept(
                    self.control, self.guarded, state, chunk, self.now_ns, source=TELEOP
                )
                assert reason is None, reason
            self.control, verdict = core.tick(
                self.control, self.guarded, state, self.inputs(), self.now_ns
            )
            self.levels.append(verdict.level)
            if verdict.command is not None:
                for name, value in zip(verdict.command.names, verdict.command.values, strict=True):
                    self.action[self.layout.names.index(name)] = value
            self.out.append(np.array(self.action))
        return self.levels[-1]

    def speeds(self):
        arm = self.follower.arm
        return (
            np.linalg.norm(np.diff([a[arm.columns][:3] for a in self.out], axis=0), axis=1) / 0.02
        )


def joy(held=True, buttons=(), **axes):
    """A gamepad's messages: axes by index as a1=..., triggers untouched."""
    values = [REST.get(i, 0.0) for i in range(8)]
    for name, value in axes.items():
        values[int(name[1:])] = value
    pressed = tuple(int((i == 5 and held) or i in buttons) for i in range(11))

    def hear(now_ns):
        heard = Heard(now_ns, readonly(values), pressed)
        return DeviceState(heard, heard)

    return hear


def test_a_stick_moves_the_tool_at_its_share_of_the_speed_and_the_dead_man_stops_it():
    cell = Cell("vx300s", "gamepad")
    cell.run(0.1, joy())
    assert cell.run(0.3, joy(a1=1.0)) < Level.HOLD
    assert cell.action[0] > 0.38 and cell.action[1:7] == pytest.approx([0, 0.2, 0, 0, 0, 1])
    limit = cell.robot.limits.groups["arm"].linear_speed_m_s
    assert cell.speeds()[-5:] == pytest.approx(cell.device.speed * limit, rel=0.05)
    stood = cell.action[0]
    cell.run(0.14, joy(held=False, a1=1.0))
    assert 0.0 < cell.action[0] - stood < 0.012  # it was 250 mm/s fast
    assert (np.diff([a[0] for a in cell.out[-7:]]) > -1e-4).all()
    stood = cell.action[0]
    assert cell.run(1.0, joy(held=False, a1=1.0)) is Level.HOLD
    assert cell.action[0] == pytest.approx(stood, abs=1e-9)
    assert cell.teleop.waits.code == "released"


def test_nothing_moves_before_the_dead_man_is_held_nor_while_the_policy_is_in_control():
    cell = Cell("vx300s", "gamepad")
    cell.run(0.3, joy(held=False, a1=1.0))
    assert cell.rows == []
    cell.run(0.3, joy(a1=1.0), mode=False)
    assert cell.rows == [] and cell.teleop.waits.code == "not_teleoperated"


def test_a_robot_that_is_not_measured_is_told_to_stand_still_once():
    cell = Cell("vx300s", "gamepad")
    cell.run(0.3, joy(a1=1.0))
    heard, told = joy(a1=1.0), {"here": None, "teleoperated": True}
    parts = cell.device, cell.follower, heard(cell.now_ns)
    teleop, chunk = tick(cell.teleop, *parts, now_ns=cell.now_ns, **told)
    assert teleop.waits.code == "no_position"
    assert np.ptp(chunk.actions[1:], axis=0).max() == 0.0
    assert 0 < np.ptp(chunk.actions, axis=0).max() < 0.01
    assert tick(teleop, *parts, now_ns=cell.now_ns, **told)[1] is None


def test_a_device_that_goes_silent_holds():
    cell = Cell("vx300s", "gamepad")
    cell.run(0.3, joy(a1=1.0))
    cell.run(cell.device.max_age_s + 0.16)
    assert cell.teleop.waits.code == "device_silent"
    stood = np.array(cell.action)
    assert cell.run(0.5) is Level.HOLD
    assert cell.action == pytest.approx(stood, abs=1e-9)


def test_triggers_open_and_close_and_one_that_was_never_touched_does_nothing():
    cell = Cell("vx300s", "gamepad")
    cell.run(0.3, joy(a2=0.0, a5=0.0))
    assert cell.action[7] == 0.5
    cell.run(0.3, joy(a5=-1.0))
    assert cell.action[7] == 0.0
    cell.run(0.5, joy(a2=-1.0))
    assert cell.action[7] == 1.0


def test_the_tool_stays_in_its_box_and_comes_back_without_delay():
    cell = Cell("vx300s", "gamepad")
    cell.run(2.0, joy(a4=-1.0))
    floor = cell.robot.limits.groups["arm"].workspace.lower[2]
    assert cell.action[2] == pytest.approx(floor, abs=2e-3)
    assert min(a[2] for a in cell.out) >= floor - 1e-9
    cell.run(0.2, joy(a4=1.0))
    assert cell.action[2] > floor + 0.02


def test_a_robot_that_a_policy_moves_in_steps_is_moved_too():
    cell = Cell("panda_cartesian", "spacemouse")
    assert all(group.reference != "absolute" for group in cell.robot.actions[:1])

    def push(now_ns):
        heard = Heard(now_ns, readonly([0, 1.0, 0, 0, 0, 0]), (0, 0))
        return DeviceState(heard, heard)

    cell.run(0.5, push)
    assert cell.action[1] > 0.02 and max(cell.levels[5:]) < Level.HOLD


def leader_at(cell, values):
    joints = [
        (v - j.offset) * j.sign for v, j in zip(values, cell.device.leader.values(), strict=True)
    ]
    return lambda now_ns: DeviceState(Heard(now_ns, readonly(joints)))


def test_a_leader_that_is_far_from_the_robot_does_not_begin_and_says_which_joint():
    cell = Cell("so101", "so101_leader")
    cell.run(0.2, leader_at(cell, [0.0, 0.8, 0.0, 0.0, 0.0, 0.0]))
    assert cell.rows == []
    assert cell.teleop.waits.detail.startswith(
        "joint.shoulder_lift: the leader asks for 0.80, the robot is at 0.00, at most 0.21 apart"
    )


def test_a_leader_that_is_near_is_approached_slowly_and_then_followed():
    cell = Cell("so101", "so101_leader")
    place = [0.15, -0.1, 0.1, 0.0, 0.0, 0.1]
    cell.run(0.1, leader_at(cell, place))
    assert 0 < np.abs(cell.action).max() < 0.03
    cell.run(2.0, leader_at(cell, place))
    assert cell.action == pytest.approx(place, abs=2e-3)
    cell.run(2.5, leader_at(cell, [0.9, -0.8, 0.6, 0.3, -0.4, 1.0]))
    assert cell.action == pytest.approx([0.9, -0.8, 0.6, 0.3, -0.4, 1.0], abs=5e-3)
    speeds = np.abs(np.diff(cell.out, axis=0)) / 0.02
    assert (speeds.max(axis=0) <= 0.9 * speed_limits(cell.follower.arm) * 1.05).all()


def test_signs_offsets_and_the_gripper_of_a_leader_are_those_of_its_file():
    cell = Cell("ur5e_2f85", "gello_ur5e")
    at = [0.1, -0.1, 0.1, 0.0, 0.1, 0.1]
    joints = [
        (v - j.offset) * j.sign for v, j in zip(at, cell.device.leader.values(), strict=True)
    ]
    cell.run(3.0, lambda now_ns: DeviceState(Heard(now_ns, readonly([*joints, 1.0]))))
    assert cell.action == pytest.approx([*at, 1.0], abs=5e-3)


def test_a_leader_that_reads_what_it_cannot_is_not_followed():
    cell = Cell("so101", "so101_leader")
    cell.run(0.2, leader_at(cell, [0.0, 2.5, 0.0, 0.0, 0.0, 0.0]))
    assert cell.teleop.waits.code == "device_values"
    assert "shoulder_lift of the leader reads 2.500, expected -2 to 2" in cell.teleop.waits.detail


def hand_at(x, y=0.0, turn=0.0, held=True):
    pose = readonly([x, y, 1.0, 0.0, 0.0, np.sin(turn / 2), np.cos(turn / 2)])
    return lambda now_ns: DeviceState(Heard(now_ns, pose), Heard(now_ns, buttons=(int(held),)))


def test_a_hand_moves_the_tool_as_far_as_it_moves_while_the_clutch_is_held():
    cell = Cell("vx300s", "hand")
    cell.run(0.1, hand_at(7.0, held=False))
    cell.run(0.1, hand_at(7.0))
    for x in np.linspace(7.0, 7.1, 10):
        cell.run(0.06, hand_at(x, turn=x - 7.0))
    cell.run(0.5, hand_at(7.1, turn=0.1))
    assert cell.action[:3] == pytest.approx([0.45, 0.0, 0.2], abs=2e-3)
    assert turn_between(np.array([0, 0, 0, 1.0]), cell.action[3:7]) == pytest.approx(
        [0, 0, 0.1], abs=5e-3
    )
    # Opened, moved back, closed: the tool stays where it is.
    cell.run(0.2, hand_at(7.0, held=False))
    cell.run(0.3, hand_at(6.9))
    assert cell.action[0] == pytest.approx(0.45, abs=3e-3)


def test_a_hand_that_jumps_was_lost_until_the_clutch_is_opened():
    cell = Cell("vx300s", "hand")
    cell.run(0.2, hand_at(0.0))
    cell.run(0.3, hand_at(0.06))
    assert cell.teleop.waits.code == "hand_lost"
    assert cell.action[0] == pytest.approx(0.35, abs=1e-3)
    cell.run(0.3, hand_at(0.0))
    assert cell.teleop.waits.code == "hand_lost"
    cell.run(0.1, hand_at(0.0, held=False))
    cell.run(0.1, hand_at(0.0))
    assert cell.teleop.waits is None


def test_keys_move_and_an_opening_is_gone_to():
    cell = Cell("vx300s", "keyboard")

    def keys(twist, opening=None):
        def hear(now_ns):
            gripper = None if opening is None else Heard(now_ns, readonly([opening]))
            return DeviceState(Heard(now_ns, readonly(twist)), None, gripper)

        return hear

    cell.run(0.2, keys([0.0] * 6))
    assert cell.rows == [] and cell.teleop.waits.code == "released"
    cell.run(0.4, keys([0, -1, 0, 0, 0, 0]))
    assert cell.action[1] < -0.03
    cell.run(0.6, keys([0.0] * 6, 0.0))
    assert cell.action[7] == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("robot", "device"), [("vx300s", "gamepad"), ("so101", "so101_leader")])
def test_whatever_a_hand_does_the_rows_are_within_the_limits(robot, device):
    cell, rng = Cell(robot, device), np.random.default_rng(1)
    if device == "so101_leader":
        cell.run(0.1, leader_at(cell, [0.1] * 6))
    for _ in range(60):
        if device == "gamepad":
            axes = {f"a{i}": float(v) for i, v in enumerate(rng.uniform(-1.5, 1.5, 8))}
            hear = joy(held=bool(rng.random() < 0.9), **axes)
        else:
            hear = leader_at(cell, np.clip(rng.normal(0, 1.0, 6), -1.5, 1.5))
        cell.run(0.1, hear)
    assert len(cell.rows) > 30
    arm, step_s = cell.follower.arm, cell.robot.step_ns * 1e-9
    rows = np.array(cell.rows)[:, :, arm.columns]
    most = cell.device.speed * step_s * speed_limits(arm) + 1e-9
    if arm.kind == POSE:
        assert np.linalg.norm(np.diff(rows[..., :3], axis=1), axis=-1).max() <= most[0]
        box = arm.limits.workspace
        assert (rows[..., :3] >= box.lower).all() and (rows[..., :3] <= box.upper).all()
    else:
        assert (np.abs(np.diff(rows, axis=1)) <= most).all()
        low, high = arm.range
        assert (rows >= low).all() and (rows <= high).all()
