"""The scripted expert behind the interface of a policy: the upper bound for policies.

It plans each chunk by running the expert in a copy of the world, so it returns the same absolute
rows as a network and uses the same control path.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.sim.demonstrations.expert import ExpertAction, expert_action
from vla_policy.sim.demonstrations.row_player import Driver
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.tasks.tasks import Task
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk, Array, Observation

ROWS = 8
STEP_NS = 100_000_000


class ExpertPolicy(PlainPolicy):
    """infer() as in a policy; prepare() passes the world and the task, which no policy knows."""

    rows = ROWS
    can_point = True

    def __init__(self, robot: str = "vx300s") -> None:
        embodiment = load_embodiment(robot)
        self.contract = PlainContract(embodiment.state_names, embodiment.action_names)
        self._copy = World(renderer="raycast", robot=robot)

    def prepare(self, world: World, task: Task) -> None:
        """Before each trial."""
        self._world, self._task = world, task

    def point(self, observation: Observation) -> Mapping[str, Array]:
        """The true position of the named object."""
        return {"target_xyz": self._world.truth().object_xyz[self._task.target]}

    def infer_chunk(
        self,
        observation: Observation,
        previous: ActionChunk | None,
        options: InferenceOptions,
    ) -> ActionChunk:
        """The expert's next rows from the current state of the world."""
        self._copy.copy_from(self._world)
        rows, terminate = expert_rows(self._copy, self._task)
        return ActionChunk(
            actions=rows,
            names=self.contract.action_names,
            obs_ns=observation.obs_ns,
            step_ns=STEP_NS,
            sequence=0,
            instruction=observation.instruction,
            terminate=terminate,
        )


def expert_rows(copy: World, task: Task, count: int = ROWS) -> tuple[Array, bool]:
    """(float64[count, d], whether the task is then complete): the expert's rows from copy on.

    copy: is advanced by it.
    """
    driver = Driver(copy, Judge(task, copy.truth()))
    rows, terminate = [], False
    for _ in range(count):
        action = expert_action(task, copy.truth())
        rows.append(row(action, drives=copy.twin.drives))
        terminate = terminate or action.terminate
        driver.pursue(action)
    return np.array(rows), terminate


def row(action: ExpertAction, *, drives: bool) -> list[float]:
    """action as a row of a chunk: for each arm its pose and gripper, then the base's velocity."""
    arms = [value for goal in action.arms for value in (*goal.pose, goal.gripper)]
    return [*arms, *(action.drive if drives else ())]
