"""A scripted policy behind the same interface as a network: the guard and the evaluation take both."""

import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.rollout import roll_out
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.policy import load_policy
from vla_policy.runtime.policy_protocol import PlainPolicy
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk


class Up(PlainPolicy):
    """Raises the tool by 1 cm per row, whatever the instruction."""

    rows = 5
    contract = load_policy("tiny").contract  # the same cameras, state and action columns

    def infer_chunk(self, observation, previous, options):
        actions = np.tile(observation.state, (self.rows, 1))  # here state and action are the same
        actions[:, 2] += 0.01 * np.arange(1, self.rows + 1)
        names, step_ns = self.contract.action_names, self.contract.step_ns
        return ActionChunk(actions, names, observation.obs_ns, step_ns, 0, observation.instruction)


robot, world = load_embodiment("vx300s"), World(renderer="auto")
scene, task = trial(SUITES["pick_put"], seed=0, index=0)
result = roll_out(Up(), world, scene, task, embodiment=robot, pace=Pace(), moves=True)
height = world.robot_state().poses["ee"][2]
print(
    f"{task.instruction}: {result.failure}; the tool is {height:.2f} m up; guard: {result.interventions}"
)
