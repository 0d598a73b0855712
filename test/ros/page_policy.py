"""The real policy node around a model that swings the tool sideways, and says in x how many steps it was given."""

import sys
import types

import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import ActionChunk

ROBOT = load_embodiment("vx300s")
SWING_M, PERIOD_S = 0.04, 6.0  # gently, for a mock on a busy machine


class SwingingModel(PlainPolicy):
    """Row k: x = 0.30 + 0.002 * num_steps, y swings, the rest as measured. It points at (0.3, 0.1, 0.02)."""

    rows, contract = 12, PlainContract(ROBOT.state_names, ROBOT.action_names)
    understanding = "a stub tries any sentence"
    can_point, guided = True, False

    def infer_chunk(self, observation, previous, options):
        rows = np.tile(observation.state, (self.rows, 1))
        due_s = (observation.obs_ns + np.arange(self.rows) * ROBOT.step_ns) * 1e-9
        rows[:, 0] = 0.30 + 0.002 * (options.num_steps or 0)
        rows[:, 1] = SWING_M * np.sin(2 * np.pi * due_s / PERIOD_S)
        return ActionChunk(
            rows, ROBOT.action_names, observation.obs_ns, ROBOT.step_ns, 0, observation.instruction,
            plan=f"swing, {options.num_steps or 0} steps, {options.candidates} drawn",
        )  # fmt: skip

    def point(self, observation):
        return {"target_xyz": np.array([0.3, 0.1, 0.02])}


# In place of the module that imports torch, which takes long on a busy machine.
loads = types.ModuleType("vla_policy.ros.nodes.policy_startup")
loads.REFUSALS = (ValueError,)
loads.load = lambda *_arguments, **_options: SwingingModel()
sys.modules[loads.__name__] = loads

from vla_policy.ros.nodes import policy_node  # noqa: E402

sys.exit(policy_node.main())
