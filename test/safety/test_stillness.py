"""No command begins while somebody else moves an arm."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.safety import guard_state, hold
from vla_policy.safety.guard import check
from vla_policy.safety.guard_state import GuardState
from vla_policy.safety.robot import robot_of
from vla_policy.types import Level, RobotState

MS = 1_000_000
PERIOD = 20 * MS
ROBOTS = ("ur5e_2f85", "vx300s", Path(__file__).parents[1] / "golden" / "joint_robot.yaml")


def robot(name):
    embodiment = load_embodiment(name)
    limits = replace(embodiment.limits, engage_fade_s=0.0)
    return robot_of(replace(embodiment, model=None, limits=limits))


class Cell:
    """One arm that stands at `here`, moved by nobody, by us or by hand; a tick every period."""

    def __init__(self, name):
        self.robot, self.state, self.now_ns = robot(name), GuardState(), 1000 * MS
        self.here = np.zeros(len(self.robot.layout.names))
        self.here[-1] = 0.5
        for part in self.robot.layout.parts:
            if hasattr(part, "rotation") and part.kind == "pose":
                self.here[part.columns] = [0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]

    def tick(self, proposed=None):
        self.now_ns += PERIOD
        self.state, verdict = check(
            self.state,
            self.robot,
            proposed,
            here=np.array(self.here),
            seen=RobotState(),
            faults=(),
            now_ns=self.now_ns,
        )
        return verdict

    def ticks(self, count, *, step=0.0, proposed=None):
        for _ in range(count):
            self.here[0] += step
            verdict = self.tick(None if proposed is None else self.here + proposed)
        return verdict

    def engage(self):
        self.state = guard_state.engage(self.state)


@pytest.fixture(params=ROBOTS, ids=("trajectory", "pose", "forward"))
def cell(request):
    return Cell(request.param)


def codes(verdict):
    return [reason.code for reason in verdict.reasons]


def test_an_arm_that_is_led_when_engaged_is_waited_for(cell):
    cell.ticks(10, step=0.004)
    cell.engage()
    verdict = cell.ticks(5, step=0.004, proposed=0.0)
    assert (verdict.level, codes(verdict), verdict.command) == (Level.HOLD, ["settling"], None)
    verdict = cell.ticks(9, proposed=0.0)
    assert codes(verdict) == ["settling"], "it has stood for 180 ms only"
    verdict = cell.ticks(3, proposed=0.0)
    assert verdict.level is not Level.HOLD and verdict.command is not None


def test_an_arm_that_others_move_after_it_came_to_rest_is_waited_for(cell):
    cell.engage()
    cell.ticks(3, proposed=0.0)
    cell.ticks(50)
    cell.ticks(2, step=0.004)
    verdict = cell.ticks(6, step=0.004, proposed=0.0)
    assert codes(verdict) == ["settling"]
    assert verdict.command is None or not set(verdict.command.names) & set(
        cell.robot.layout.names[:6]
    )
    verdict = cell.ticks(12, proposed=0.0)
    assert verdict.command is not None and verdict.command.values[0] == cell.here[0]


def test_what_moves_by_our_commands_is_not_waited_for(cell):
    cell.engage()
    for _ in range(30):
        verdict = cell.ticks(1, step=0.004, proposed=0.004)
        assert codes(verdict) != ["settling"]
    assert verdict.command is not None


def test_noise_of_a_measurement_is_no_motion(cell):
    rng = np.random.default_rng(0)
    middle = np.array(cell.here)
    for _ in range(20):
        cell.here[0] = middle[0] + rng.uniform(-0.5e-3, 0.5e-3)
        cell.tick()
    cell.engage()
    assert cell.tick(middle).command is not None


def test_after_a_jump_of_the_clock_nothing_is_known_of_motion(cell):
    cell.ticks(10, step=0.004)
    state = guard_state.after_jump(cell.state, cell.now_ns - 5000 * MS)
    assert state.watched is None


def test_an_arm_that_goes_elsewhere_than_it_is_told_is_told_nothing_until_it_stands(cell):
    """Somebody begins to lead it in the moment in which we begin: it was seen at rest until then."""
    cell.engage()
    cell.ticks(15)
    told, said = np.array(cell.here), []
    for k in range(16):
        cell.here[0] -= 0.004 if k else 0.0025
        told[0] += 0.001
        said.append(codes(cell.tick(told)))
        if said.count(["led_away"]) == 2:
            break
    begins = next(k for k, one in enumerate(said) if one == ["led_away"])
    waits = {"led_away", "settling", "start_jump"}
    assert 2 < begins <= 13 and all(one and set(one) <= waits for one in said[begins:])
    verdict = cell.ticks(8, proposed=0.0)
    assert codes(verdict) and set(codes(verdict)) <= waits
    verdict = cell.ticks(20, proposed=0.0)
    assert verdict.command is not None and abs(verdict.command.values[0] - cell.here[0]) < 1e-3


def test_an_arm_that_lags_behind_what_it_is_told_goes_on(cell):
    cell.engage()
    cell.ticks(15)
    told = np.array(cell.here)
    for k in range(60):
        told[0] += 0.002
        cell.here[0] += 0.002 * (k >= 10)  # 200 ms later
        verdict = cell.tick(told)
        assert verdict.command is not None and "led_away" not in codes(verdict)


def test_zeros_that_are_over_are_not_begun_anew_by_a_jump_of_the_clock():
    """Somebody else may drive meanwhile; what had been repeated for half a second is said."""
    driven = robot("vx300s_mobile")
    width = len(driven.layout.names)
    zeros = guard_state.Drive(np.zeros(width), 1480 * MS, 1000 * MS)
    state = guard_state.after_jump(GuardState(drive=zeros), 500_000 * MS)
    assert hold.ramp_down(state, driven, 500_000 * MS)[1] is None
    turning = guard_state.Drive(np.full(width, 0.1), 1480 * MS, 1480 * MS)
    state = guard_state.after_jump(GuardState(drive=turning), 500_000 * MS)
    assert hold.ramp_down(state, driven, 500_000 * MS)[1] is not None
