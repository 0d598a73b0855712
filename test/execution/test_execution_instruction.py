"""Another instruction while a plan is executed: flush ends the plan at once, and no chunk of the old one comes back."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.execution.timeline import queued_rows
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.types import ActionChunk, Level, RobotState

MS = 1_000_000
EMBODIMENT = load_embodiment("vx300s")
ARM = GuardedRobot(EMBODIMENT, layout_of(EMBODIMENT))
ACTION = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])


class Cell:
    """An engaged arm that stands; time in ms."""

    def __init__(self, scheme="receding"):
        self.now_ns = 5_000 * MS
        self.control, refusal = core.engage(
            Control(scheme=scheme), ARM, self.inputs(), self.now_ns
        )
        assert refusal is None
        self.tick()

    def inputs(self):
        return InputStamps(
            self.now_ns, self.now_ns, dict.fromkeys(EMBODIMENT.cameras, self.now_ns)
        )

    def state(self):
        now = self.now_ns
        return RobotState(np.zeros(6), now, {"ee": ACTION[:7]}, now, {"gripper": 0.5})

    def tick(self):
        self.now_ns += 20 * MS
        self.control, verdict = core.tick(
            self.control, ARM, self.state(), self.inputs(), self.now_ns
        )
        return verdict

    def chunk(self, instruction, sequence, age_ms=0):
        rows = np.tile(ACTION, (10, 1))
        rows[:, 1] += 0.002 * np.arange(1, 11)
        chunk = ActionChunk(
            rows, ARM.layout.names, self.now_ns - age_ms * MS, 100 * MS, sequence, instruction
        )
        self.control, reason = core.accept(self.control, ARM, self.state(), chunk, self.now_ns)
        return None if reason is None else reason.code

    def instruct(self, instruction):
        self.control = core.instruct(self.control, instruction)


def test_the_plan_ends_at_once_and_old_chunks_are_not_taken():
    cell = Cell()
    cell.instruct("go left")
    assert cell.chunk("go left", 0) is None
    assert cell.tick().level < Level.HOLD
    cell.instruct("go right")
    verdict = cell.tick()
    assert (verdict.level, verdict.reasons[-1].code) == (Level.HOLD, "no_chunk")
    assert cell.chunk("go left", 1) == "chunk_instruction", "it was being computed meanwhile"
    assert cell.control.guard.counts["chunk_instruction"] == 1
    # Seen before the change, but of the new instruction: true, and so taken.
    assert cell.chunk("go right", 2, age_ms=10) is None
    assert cell.tick().level < Level.HOLD


def test_a_control_path_that_heard_no_word_is_not_hushed():
    cell = Cell()
    cell.control = Control(guard=cell.control.guard)
    assert cell.chunk("go left", 0) is None


def test_the_same_words_again_change_nothing():
    cell = Cell()
    cell.instruct("go left")
    cell.chunk("go left", 0)
    before = cell.control
    cell.instruct("go left")
    assert cell.control is before


def test_without_flush_the_plan_goes_on_until_the_next_chunk():
    cell = Cell("blend")
    cell.chunk("go left", 0)
    cell.tick()
    assert cell.chunk("go right", 1) is None
    assert cell.control.timeline.chunk.instruction == "go right"
    assert cell.tick().level < Level.HOLD


@pytest.mark.parametrize("scheme", ["receding", "ensemble", "average", "blend", "rtc"])
def test_every_scheme_runs_through_the_control_path(scheme):
    cell = Cell(scheme)
    sent = []
    for k in range(40):
        if k % 10 == 0:
            assert cell.chunk("go", k) is None
        verdict = cell.tick()
        assert verdict.level < Level.HOLD, verdict.reasons
        sent.append(verdict.command.values[1])
    assert np.abs(np.diff(sent, n=2)).max() < 6.0 * 0.02**2 * 1.5, "about the limit, 6 m/s^2"


def test_open_loop_is_counted_as_early():
    cell = Cell("open_loop")
    assert cell.chunk("go", 0) is None
    cell.tick()
    assert cell.chunk("go", 1) == "chunk_early"
    assert replace(cell.control).timeline.chunk.sequence == 0


def test_an_ended_instruction_stops_moving_the_arm_at_once():
    cell = Cell()
    cell.instruct("lift")
    assert cell.chunk("lift", 0) is None
    cell.tick()
    cell.instruct("")
    assert queued_rows(cell.control.timeline, cell.now_ns) == 0
    assert cell.tick().level is Level.HOLD
    assert cell.chunk("lift", 1) == "chunk_ended"  # it was on its way
    cell.tick()
    assert cell.chunk("of a client", 2) is None
    cell.tick()
    cell.instruct("lift")
    assert cell.chunk("lift", 3) is None


@pytest.mark.parametrize("flush", [True, False])
def test_hushed_until_an_instruction_begins(flush):
    cell = Cell()
    cell.control = core.instruct(cell.control, "lift", flush=flush)
    assert cell.chunk("lift", 0) is None
    cell.control = core.hush(cell.control, cell.now_ns)
    verdict = cell.tick()
    assert (verdict.level, cell.control.guard.engaged) == (Level.HOLD, True)
    cell.now_ns += 200 * MS
    assert cell.chunk("lift", 1) == "chunk_ended"
    cell.control = core.instruct(cell.control, "", flush=flush)
    assert cell.chunk("lift", 2) == "chunk_ended"
    cell.control = core.instruct(cell.control, "lift", flush=flush)
    assert cell.chunk("lift", 3) is None


def test_engaging_ends_the_hush():
    cell = Cell()
    cell.control = core.hush(cell.control, cell.now_ns)
    assert cell.chunk("", 0) == "chunk_ended"
    cell.control, refusal = core.engage(cell.control, ARM, cell.inputs(), cell.now_ns)
    assert refusal is None
    assert cell.chunk("", 1) is None
