"""Long tasks in the twin, in process, with policies that the test makes."""

import json

import numpy as np
import pytest
from table_policy import TablePolicy

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.long_trial import follow_long
from vla_policy.planners.own import own_planner
from vla_policy.runtime.long_task import LongBounds
from vla_policy.runtime.planning import Answered, PlanAnswer
from vla_policy.runtime.policy_protocol import PlainContract
from vla_policy.runtime.task import Outcome
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk

ROBOT = load_embodiment("vx300s")
BOUNDS = LongBounds(subtasks=9, tries=2, subtask_s=0.5)
SAID = "put everything in the tray"


class StandingPolicy(TablePolicy):
    """Stays where it is. magic: what it is told happens all the same, and it reports that it is done."""

    rows, contract, magic = 8, PlainContract(ROBOT.state_names, ROBOT.action_names, 16), False

    def infer_chunk(self, observation, previous, options):
        rows = np.tile(observation.state, (self.rows, 1))
        if self.magic:
            self.obey(observation.instruction)
        return ActionChunk(
            rows, ROBOT.action_names, observation.obs_ns, ROBOT.step_ns, 0, observation.instruction,
            terminate=self.magic,
        )  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return World(renderer="raycast")


def followed(world, policy, planner=own_planner, timeout_s=60.0):
    world.reset(sample_scene(1))
    return follow_long(
        policy, world, SAID, planner, embodiment=ROBOT, pace=Pace(), bounds=BOUNDS, timeout_s=timeout_s,
    )  # fmt: skip


def table(**things):
    return StandingPolicy(red_cube=(0.2, 0.0, 0.0), **things)


def test_what_does_not_move_is_tried_again_and_then_given_up(world):
    result = followed(world, table())
    put, pick = "put the red cube in the tray", "pick up the red cube"
    assert [past.subtask for past in result.done] == [put, pick, put, pick]
    assert {past.outcome for past in result.done} == {"TIMEOUT"}
    assert result.ended.outcome is Outcome.REFUSED and "the red cube" in result.ended.message
    assert result.seen == ("red cube: table",)


def test_it_ends_as_done_once_the_planner_sees_it(world):
    policy = table(blue_ball=(0.42, 0.0, 0.0))
    policy.magic = True
    result = followed(world, policy)
    assert [past.outcome for past in result.done] == ["DONE", "DONE"]
    assert result.ended.outcome is Outcome.DONE and 1.0 < result.seconds < 10.0


def test_a_planner_that_fails_or_says_stop_and_a_time_that_is_up_end_it(world):
    def fails(request, policy, observation):
        raise ValueError(json.dumps(request.instruction))

    def stops(request, policy, observation):
        return PlanAnswer(Answered.NEXT, "stop")

    assert followed(world, table(), fails).ended.outcome is Outcome.STALE
    assert followed(world, table(), stops).ended.outcome is Outcome.STOPPED
    assert followed(world, table(), timeout_s=0.4).ended.outcome is Outcome.TIMEOUT
