"""Who is in control: the policy, a person, or nobody; and that it changes at once and without a jump."""

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.runtime.control_mode import (
    AUTONOMOUS,
    MODES,
    PAUSED,
    POLICY,
    TELEOP,
    TELEOPERATED,
    refuse_mode,
    source_of,
)
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.types import ActionChunk, Level, Reason, RobotState

MS = 1_000_000
TICK = 20 * MS
EMBODIMENT = load_embodiment("vx300s")
ARM = GuardedRobot(EMBODIMENT, layout_of(EMBODIMENT))
POLICY_Y, TELEOP_Y = 0.1, -0.1  # what each of the two would have the arm go to


class Cell:
    """An arm that does what it is told, a policy that wants it to +y and a person who wants it to -y."""

    def __init__(self, scheme="receding"):
        self.control, self.now_ns = Control(scheme=scheme), 5_000 * MS
        self.action = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
        self.sequence, self.sent = 0, []
        self.control, refusal = core.engage(self.control, ARM, self.inputs(), self.now_ns)
        assert refusal is None

    def inputs(self):
        cameras = dict.fromkeys(EMBODIMENT.cameras, self.now_ns)
        return InputStamps(self.now_ns, self.now_ns, cameras)

    def state(self):
        now = self.now_ns
        poses, grippers = {"ee": self.action[:7]}, {"gripper": float(self.action[7])}
        return RobotState(np.zeros(6), now, poses, now, grippers)

    def set_mode(self, mode):
        self.control = core.set_mode(self.control, mode, self.now_ns)

    def chunk(self, source, *, rows=5, step_m=0.004, obs_ns=None, jump_m=0.0, **fields):
        """A chunk that leads from here towards what the source wants."""
        towards = 1.0 if source == POLICY else -1.0
        values = np.tile(self.action, (rows, 1))
        values[:, 1] += towards * (jump_m + step_m * np.arange(1, rows + 1))
        self.sequence += 1
        fields = {"instruction": "do it" if source == POLICY else "", **fields}
        obs_ns = self.now_ns if obs_ns is None else obs_ns
        names = ARM.layout.names
        chunk = ActionChunk(values, names, obs_ns, 100 * MS, self.sequence, **fields)
        self.control, reason = core.accept(
            self.control, ARM, self.state(), chunk, self.now_ns, source=source
        )
        return None if reason is None else reason.code

    def run(self, ticks, *sources):
        """Ticks in which each source sends a chunk every third tick; the last verdict."""
        verdict = None
        for k in range(ticks):
            self.now_ns += TICK
            for source in sources if k % 3 == 0 else ():
                self.chunk(source)
            self.control, verdict = core.tick(
                self.control, ARM, self.state(), self.inputs(), self.now_ns
            )
            if verdict.command is not None:
                self.sent.append(verdict.command.values)
                self.action = np.array(verdict.command.values)
        return verdict

    def counts(self):
        return self.control.guard.counts


def code(verdict):
    return verdict.reasons[-1].code if verdict.reasons else ""


def test_a_source_is_in_control_in_one_mode_alone():
    assert {mode: source_of(mode) for mode in MODES} == {
        AUTONOMOUS: POLICY, PAUSED: "", TELEOPERATED: TELEOP
    }  # fmt: skip
    assert refuse_mode(PAUSED) is None
    assert "got 'teleoperate', expected autonomous, paused or teleoperated" in refuse_mode(
        "teleoperate"
    )


@pytest.mark.parametrize("mode", MODES)
def test_chunks_of_a_source_that_is_not_in_control_are_dropped_and_counted(mode):
    cell = Cell()
    cell.set_mode(mode)
    cell.now_ns += TICK
    codes = {source: cell.chunk(source) for source in (POLICY, TELEOP)}
    dropped = {s: "chunk_mode" for s in codes if s != source_of(mode)}
    assert {s: c for s, c in codes.items() if c is not None} == dropped
    assert cell.counts().get("chunk_mode", 0) == len(dropped)


def test_at_the_button_the_plan_of_the_policy_ends_and_none_of_its_commands_goes_out():
    cell = Cell()
    cell.run(12, POLICY)
    reached = cell.action[1]
    assert reached > 0.004
    cell.set_mode(TELEOPERATED)
    assert cell.control.timeline.plan is None
    verdict = cell.run(10, POLICY)
    assert (verdict.level, code(verdict)) == (Level.HOLD, "no_teleop")
    assert cell.action[1] == reached
    assert cell.counts()["chunk_mode"] == 4
    assert "no_teleop" not in cell.counts()


def test_the_first_command_of_the_person_goes_on_from_where_the_arm_is():
    cell = Cell()
    cell.run(12, POLICY)
    cell.set_mode(TELEOPERATED)
    before = len(cell.sent)
    verdict = cell.run(20, POLICY, TELEOP)
    assert verdict.level is Level.PASS
    y = np.array(cell.sent)[before - 1 :, 1]
    assert (np.diff(y) <= 0.0).all() and y[-1] < y[0] - 0.008
    limit_m = EMBODIMENT.limits.groups["arm"].linear_speed_m_s * 0.02
    assert np.abs(np.diff(y)).max() <= limit_m


def test_handed_back_the_policy_starts_from_what_it_sees_after_the_button():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.run(12, TELEOP)
    seen_ns = cell.now_ns
    cell.now_ns += TICK
    cell.set_mode(AUTONOMOUS)
    assert cell.chunk(POLICY, obs_ns=seen_ns) == "chunk_old"
    reached = cell.action[1]
    verdict = cell.run(10, TELEOP)
    assert (code(verdict), cell.action[1]) == ("no_chunk", reached)
    cell.run(12, POLICY, TELEOP)
    assert cell.action[1] > reached


def test_a_silent_person_holds_the_arm_and_never_hands_it_back():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.run(6, TELEOP)
    cell.chunk(TELEOP, rows=2)
    cell.run(11, POLICY)  # its two rows, and one tick
    reached, verdict = cell.action[1], cell.run(200, POLICY)
    assert (cell.control.mode, code(verdict)) == (TELEOPERATED, "no_teleop")
    assert (verdict.level, cell.action[1]) == (Level.HOLD, reached)


def test_a_long_plan_of_a_person_is_stale_as_soon_as_one_of_a_policy():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.now_ns += TICK
    assert cell.chunk(TELEOP, rows=40, step_m=0.001) is None
    ticks = round(EMBODIMENT.limits.max_chunk_age_s / 0.02)
    assert cell.run(ticks).level is Level.PASS
    assert code(cell.run(1)) == "stale_chunk"


def test_paused_nobody_moves_the_arm():
    cell = Cell()
    cell.run(12, POLICY)
    reached = cell.action[1]
    cell.set_mode(PAUSED)
    verdict = cell.run(50, POLICY, TELEOP)
    assert (verdict.level, code(verdict), cell.action[1]) == (Level.HOLD, "paused", reached)
    assert "paused" not in cell.counts()


def test_a_button_that_is_pressed_twice_does_not_interrupt():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.run(7, TELEOP)
    cell.set_mode(TELEOPERATED)
    assert cell.run(1).level is Level.PASS


def test_a_person_who_is_far_from_the_arm_does_not_begin():
    cell = Cell()
    cell.run(12, POLICY)
    cell.set_mode(TELEOPERATED)
    cell.now_ns += TICK
    far_m = EMBODIMENT.limits.groups["arm"].start_jump_m + 0.01
    assert cell.chunk(TELEOP, jump_m=far_m) == "start_jump"
    assert code(cell.run(1)) == "no_teleop"
    assert cell.chunk(TELEOP, jump_m=far_m - 0.03) is None
    assert cell.run(1).level < Level.HOLD


def test_a_person_begins_with_the_first_row_and_goes_as_far_as_wanted_then():
    """Only where it begins is looked at: later rows, and later chunks, are limited as those of a policy."""
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.now_ns += TICK
    near_m = 0.9 * EMBODIMENT.limits.groups["arm"].start_jump_m
    assert cell.chunk(TELEOP, step_m=near_m) is None
    assert cell.run(1).level < Level.HOLD
    cell.now_ns += TICK
    assert cell.chunk(TELEOP, jump_m=2 * near_m) is None, "the plan goes on from where it is"


def test_a_broken_chunk_of_the_person_ends_the_plan_of_the_person():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.run(7, TELEOP)
    cell.now_ns += TICK
    assert cell.chunk(TELEOP, step_m=np.nan) == "chunk_not_finite"
    assert cell.control.timeline.plan is None


def test_a_broken_chunk_of_who_is_not_in_control_disturbs_nobody():
    cell = Cell()
    cell.run(7, POLICY)
    cell.control = core.refuse(
        cell.control, Reason("chunk_unreadable", "x"), cell.now_ns, source=TELEOP
    )
    assert cell.run(1).level is Level.PASS
    assert cell.counts()["chunk_unreadable"] == 1
    cell.control = core.refuse(cell.control, Reason("chunk_unreadable", "x"), cell.now_ns)
    assert code(cell.run(1)) == "no_chunk"


@pytest.mark.parametrize("scheme", ["open_loop", "ensemble", "rtc"])
def test_a_person_is_followed_at_once_whatever_the_scheme_of_the_policy(scheme):
    cell = Cell(scheme)
    cell.set_mode(TELEOPERATED)
    cell.now_ns += TICK
    assert [cell.chunk(TELEOP, obs_ns=cell.now_ns + k) for k in range(3)] == [None] * 3
    assert len(cell.control.timeline.plan.line.turns) == 5


@pytest.mark.parametrize(("source", "continued", "faded"), [
    (TELEOP, True, False), (TELEOP, False, True), (POLICY, True, True),
])  # fmt: skip
def test_only_a_person_s_chunk_that_continues_the_one_before_is_followed_as_it_is(
    source, continued, faded
):
    """All else fades from where the arm is to the new rows, within one step."""
    cell = Cell()
    if source == TELEOP:
        cell.set_mode(TELEOPERATED)
    cell.run(4, source)
    cell.now_ns += TICK
    before = cell.control.timeline.plan.chunk.sequence
    assert cell.chunk(source, jump_m=0.01, continues=before if continued else None) is None
    assert cell.control.timeline.plan.gap.linear.any() == faded


def test_a_person_s_late_chunk_is_not_played_anew_from_its_first_row():
    """A policy's is, for an arm that rests: it stands where the policy saw it. A hand has gone on."""
    begins = {}
    for source, mode in ((POLICY, AUTONOMOUS), (TELEOP, TELEOPERATED)):
        cell = Cell()
        cell.set_mode(mode)
        cell.now_ns += TICK
        seen_ns = cell.now_ns
        cell.now_ns += 10 * TICK
        assert cell.chunk(source, obs_ns=seen_ns) is None
        begins[source] = cell.control.timeline.plan.begin_ns - seen_ns
    assert begins == {POLICY: 10 * TICK, TELEOP: 0}


def test_the_instruction_of_the_policy_is_no_matter_of_the_person():
    cell = Cell()
    cell.control = core.instruct(cell.control, "do it")
    cell.set_mode(TELEOPERATED)
    cell.run(4, TELEOP)
    cell.control = core.instruct(cell.control, "")
    assert cell.control.timeline.plan is not None
    cell.control = core.instruct(cell.control, "do another thing")
    assert cell.control.timeline.plan is not None
    assert cell.run(4, TELEOP).level is Level.PASS


def test_a_word_that_ends_what_is_done_pauses_teleoperation():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.run(4, TELEOP)
    cell.control = core.hush(cell.control, cell.now_ns)
    assert cell.control.mode == PAUSED
    assert code(cell.run(4, TELEOP)) == "paused"
    cell.set_mode(TELEOPERATED)
    assert cell.run(4, TELEOP).level is Level.PASS


def test_the_mode_outlives_a_stop():
    cell = Cell()
    cell.set_mode(TELEOPERATED)
    cell.control = core.stop(cell.control, Reason("operator_stop", "by hand"), cell.now_ns)
    cell.control, refusal = core.reset(cell.control)
    assert refusal is None
    cell.control, refusal = core.engage(cell.control, ARM, cell.inputs(), cell.now_ns)
    assert refusal is None
    verdict = cell.run(10, POLICY)
    assert (cell.control.mode, code(verdict)) == (TELEOPERATED, "no_teleop")
