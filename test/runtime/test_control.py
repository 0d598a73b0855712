"""Chunks in, commands out, through timeline, watchdog and guard; the clock is an argument."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of, measured_action
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import GAP_NS, InputStamps, clock_jumped, stale_inputs
from vla_policy.types import ActionChunk, Level, Reason, RobotState

MS = 1_000_000
START = 5_000 * MS
TICK = 20 * MS
EMBODIMENT = load_embodiment("vx300s")
ARM = GuardedRobot(EMBODIMENT, layout_of(EMBODIMENT))
_JOINTS = load_embodiment(Path(__file__).parents[1] / "golden" / "joint_robot.yaml")
JOINTS = GuardedRobot(_JOINTS, layout_of(_JOINTS))
POSE = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])


class Cell:
    """A robot that does what it is told, with fresh inputs unless a test takes some away."""

    def __init__(self, robot=ARM):
        self.robot, self.control, self.now_ns = robot, Control(), START
        self.action = np.array([*POSE, 0.5]) if robot is ARM else np.array([0.1] * 6 + [0.5])
        self.silent_since = {}
        self.out = []

    def stamp(self, name):
        return min(self.now_ns, self.silent_since.get(name, self.now_ns))

    def inputs(self):
        cameras = {name: self.stamp(name) for name in self.robot.embodiment.cameras}
        return InputStamps(self.stamp("joints"), self.stamp("ee_pose"), cameras)

    def state(self):
        now = self.now_ns
        if self.robot is ARM:
            return RobotState(
                np.zeros(6), now, {"ee": self.action[:7]}, now, {"gripper": float(self.action[7])}
            )
        return RobotState(self.action[:6], now, grippers={"gripper": float(self.action[6])})

    def engage(self):
        self.control, refusal = core.engage(self.control, self.robot, self.inputs(), self.now_ns)
        return refusal

    def chunk(self, columns, *, sequence=0, obs_ns=None, column=0):
        """Rows that differ from where the robot is in one column."""
        rows = np.tile(self.action, (len(columns), 1))
        rows[:, column] = columns
        obs_ns = self.now_ns if obs_ns is None else obs_ns
        names = self.robot.layout.names
        chunk = ActionChunk(rows, names, obs_ns, 100 * MS, sequence, "do it")
        self.control, reason = core.accept(
            self.control, self.robot, self.state(), chunk, self.now_ns
        )
        return reason

    def run(self, ticks):
        verdict = None
        for _ in range(ticks):
            self.now_ns += TICK
            self.control, verdict = core.tick(
                self.control, self.robot, self.state(), self.inputs(), self.now_ns
            )
            if verdict.command is not None:
                self.out.append(verdict.command.values)
                self.action = np.array(verdict.command.values)
        return verdict


def codes(verdict):
    return [reason.code for reason in verdict.reasons]


@pytest.mark.parametrize(("robot", "column"), [(ARM, 0), (JOINTS, 2)], ids=["pose", "joints"])
def test_a_chunk_is_followed_end_to_end(robot, column):
    cell = Cell(robot)
    assert cell.engage() is None
    start = cell.action[column]
    # Taken one tick after its observation; the arm rested, so it starts with the first row.
    cell.now_ns += TICK
    rows = [start + 0.004 * k for k in range(1, 6)]
    assert cell.chunk(rows, obs_ns=START + 1, column=column) is None
    cell.run(10)
    assert cell.action[column] == pytest.approx(start + 0.008, abs=0.0005)
    verdict = cell.run(14)
    assert cell.action[column] == pytest.approx(start + 0.0195, abs=0.001)
    assert (verdict.level, verdict.command is None) == (Level.PASS, False)
    verdict = cell.run(2)
    assert codes(verdict) == ["no_chunk"]
    others = np.delete(np.array(cell.out), column, axis=1)
    assert others == pytest.approx(np.tile(others[0], (len(others), 1)))


def test_nothing_is_taken_before_engage():
    cell = Cell()
    assert cell.chunk([0.31]) is None
    cell.engage()
    verdict = cell.run(5)
    assert (cell.out, codes(verdict)) == ([], ["no_chunk"])
    assert cell.chunk([0.31] * 4, obs_ns=START - 1).code == "chunk_old"


@pytest.mark.parametrize(
    ("name", "code", "max_age_s"),
    [
        ("front", "stale_camera", 0.35),
        ("joints", "stale_joint_states", 0.25),
        ("ee_pose", "stale_ee_pose", 0.25),
    ],
)
def test_a_stale_input_empties_the_plan_for_good(name, code, max_age_s):
    cell = Cell()
    cell.engage()
    cell.now_ns += TICK
    cell.chunk([0.3 + 0.002 * k for k in range(1, 12)])
    cell.run(5)
    cell.silent_since[name] = cell.now_ns
    ticks = round(max_age_s / 0.02)
    assert cell.run(ticks - 1).level is Level.PASS
    verdict = cell.run(2)
    assert (verdict.level, codes(verdict)) == (Level.HOLD, [code])
    stood, last_obs = cell.action[0], cell.control.timeline.floor_ns
    cell.silent_since.clear()
    verdict = cell.run(30)
    assert (codes(verdict), cell.action[0]) == (["no_chunk"], stood)
    assert cell.chunk([0.31] * 20, obs_ns=last_obs, sequence=7).code == "chunk_old"
    assert cell.chunk([stood + 0.001] * 5, sequence=8) is None
    assert cell.run(1).level is Level.PASS


def test_a_plan_that_is_too_old_is_emptied():
    cell = Cell()
    cell.engage()
    cell.now_ns += TICK
    cell.chunk([0.3 + 0.001 * k for k in range(1, 30)])
    assert cell.run(60).level is Level.PASS
    verdict = cell.run(1)
    assert codes(verdict) == ["stale_chunk"]
    assert cell.control.timeline.chunk is None


def test_a_broken_chunk_empties_the_plan_and_a_late_one_does_not():
    cell = Cell()
    cell.engage()
    cell.now_ns += TICK
    cell.chunk([0.301] * 10)
    cell.run(10)
    assert cell.chunk([0.5], sequence=1, obs_ns=cell.now_ns - 100 * MS).code == "chunk_late"
    assert cell.run(1).level is Level.PASS
    assert cell.chunk([np.nan] * 5, sequence=2).code == "chunk_not_finite"
    assert codes(cell.run(1)) == ["no_chunk"]
    assert cell.control.guard.counts["chunk_not_finite"] == 1
    cell.control = core.refuse(cell.control, Reason("chunk_unreadable", "x"), cell.now_ns)
    assert cell.control.guard.counts["chunk_unreadable"] == 1


@pytest.mark.parametrize("jump_ms", [-2_000, 2_000, 10**9])
def test_a_clock_that_jumps_empties_everything(jump_ms):
    cell = Cell()
    cell.engage()
    cell.now_ns += TICK
    cell.chunk([0.301] * 10)
    cell.run(3)
    cell.now_ns += jump_ms * MS
    verdict = cell.run(1)
    assert (verdict.level, codes(verdict), verdict.command) == (Level.HOLD, ["clock_jump"], None)
    assert codes(cell.run(1)) == ["no_chunk"]
    assert cell.control.guard.sent is None
    assert cell.chunk([0.301] * 4, sequence=1) is None
    assert cell.run(1).level is Level.PASS


def test_engage_stop_and_reset():
    cell = Cell()
    cell.silent_since["wrist"] = START - 400 * MS
    assert "wrist/image_raw is 0.40 s old" in cell.engage()
    cell.silent_since.clear()
    assert cell.engage() is None
    assert cell.engage() is None  # twice is no fault
    cell.now_ns += TICK
    cell.chunk([0.301] * 10)
    cell.run(3)
    cell.control = core.stop(cell.control, Reason("operator_stop", "by hand"), cell.now_ns)
    sent = len(cell.out)
    assert cell.run(10).level is Level.STOP
    assert "by hand" in cell.engage()
    assert len(cell.out) == sent
    cell.control, refusal = core.reset(cell.control)
    assert refusal is None
    assert codes(cell.run(1)) == ["disengaged"]
    assert cell.engage() is None
    assert "disengage" in core.reset(cell.control)[1]
    cell.control = core.disengage(cell.control, cell.now_ns)
    assert codes(cell.run(1)) == ["disengaged"]


def test_watchdog_names_what_is_missing_old_or_early():
    now = START
    cameras = {"front": now - 360 * MS, "wrist": now + 200 * MS}
    errors = {"stale_joint_states": "no joint elbow"}
    inputs = InputStamps(None, now - 240 * MS, cameras, errors=errors)
    reasons = stale_inputs(inputs, EMBODIMENT, now)
    assert [r.code for r in reasons] == ["stale_joint_states", "stale_camera", "stale_camera"]
    assert reasons[0].detail == "no joint elbow"
    assert "0.36 s old, at most 0.35 s" in reasons[1].detail
    assert "0.200 s ahead" in reasons[2].detail
    assert stale_inputs(InputStamps(), EMBODIMENT, now)[0].detail.startswith("nothing has come")
    assert clock_jumped(5, 5) is None
    assert clock_jumped(6, 5).code == "clock_jump"
    assert clock_jumped(5, 5 + GAP_NS) is None
    assert clock_jumped(5, 6 + GAP_NS).code == "clock_jump"
    still = InputStamps(now, now, dict.fromkeys(cameras, now), {"wrist": now - 1_001 * MS})
    reasons = stale_inputs(still, EMBODIMENT, now)
    assert [r.code for r in reasons] == ["stale_pixels"]
    assert "wrist/image_raw shows the very same pixels for 1.00 s" in reasons[0].detail
    assert stale_inputs(still, EMBODIMENT, now - 1 * MS) == ()
    two = InputStamps(now, now, dict.fromkeys(cameras, now), conflict=Reason("two_policies", "x"))
    assert [r.code for r in stale_inputs(two, EMBODIMENT, now)] == ["two_policies"]


def test_an_inverted_gripper_is_measured_in_its_own_sense():
    hand = replace(EMBODIMENT.actions[1], open=0.0, closed=1.0)
    layout = layout_of(replace(EMBODIMENT, actions=(EMBODIMENT.actions[0], hand)))
    state = RobotState(np.zeros(6), 1, {"ee": POSE}, 1, {"gripper": 0.8})
    assert measured_action(layout, state)[7] == pytest.approx(0.2)
    assert measured_action(ARM.layout, state)[7] == pytest.approx(0.8)
    assert measured_action(ARM.layout, RobotState()) is None


def test_engaging_again_starts_from_where_the_arm_is_now():
    cell = Cell()
    cell.engage()
    cell.now_ns += TICK
    cell.chunk([0.302] * 5)
    cell.run(5)
    cell.control = core.disengage(cell.control, cell.now_ns)
    cell.action[0] = 0.4  # moved by hand, at once
    cell.run(1)
    assert cell.engage() is None
    cell.now_ns += TICK
    assert cell.chunk([0.402] * 5, sequence=1) is None
    assert cell.run(1).level is Level.PASS
    assert cell.action[0] == pytest.approx(0.4, abs=0.003)


def test_a_slow_policy_moves_a_resting_arm_in_stages():
    cell = Cell()
    cell.engage()
    cell.now_ns += 700 * MS
    # 700 ms old and 5 rows long: too late for an arm that moves, not for one that rested.
    assert cell.chunk([0.302, 0.304, 0.306, 0.308, 0.31], obs_ns=cell.now_ns - 650 * MS) is None
    cell.run(5)
    assert cell.action[0] == pytest.approx(0.302, abs=0.0005)
    cell.run(19)
    assert cell.action[0] == pytest.approx(0.3096, abs=0.0005)
    cell.run(2)
    seen_moving = cell.now_ns - 100 * MS
    cell.run(35)
    reason = cell.chunk([0.312, 0.314], sequence=1, obs_ns=seen_moving)
    assert reason.code == "chunk_late"
    assert cell.chunk([0.312, 0.314], sequence=2, obs_ns=cell.now_ns - 300 * MS) is None
    assert cell.run(1).level is Level.PASS
    # While it moves, only the rows still to come count.
    assert cell.chunk([0.312] * 3, sequence=3, obs_ns=cell.now_ns - 400 * MS).code == "chunk_old"
    assert cell.chunk([0.3] * 2, sequence=4, obs_ns=cell.now_ns - 200 * MS).code == "chunk_late"


def test_the_age_of_the_observation_limits_a_late_plan_too():
    cell = Cell()
    cell.engage()
    cell.now_ns += 1_000 * MS
    assert cell.chunk([0.3 + 0.002 * k for k in range(1, 11)], obs_ns=START) is None
    assert cell.run(10).level is Level.PASS
    assert codes(cell.run(1)) == ["stale_chunk"]


def test_what_the_plan_proposed_is_kept_beside_what_the_guard_let_through():
    cell = Cell()
    assert cell.engage() is None
    cell.now_ns += TICK
    cell.chunk([0.45] * 8, obs_ns=START + 1)  # far away: the guard slows it down
    verdict = cell.run(3)
    assert verdict.command is not None
    assert cell.control.proposed[0] > verdict.command.values[0] + 0.01
    moving = cell.control
    cell.control = core.disengage(moving, cell.now_ns)
    cell.run(1)
    assert cell.control.proposed is None
    taken, _ = core.disengage_for(moving, ARM, Reason("moved_away", "by hand"), cell.now_ns)
    assert taken.proposed is None
    jumped, _ = core.tick(moving, ARM, cell.state(), cell.inputs(), cell.now_ns + 3 * GAP_NS)
    assert jumped.proposed is None
