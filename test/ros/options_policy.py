"""The real policy node around a model whose rows say with which options it was called."""

import sys
import types

import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import ActionChunk

ROBOT = load_embodiment("vx300s")


class OptionsModel(PlainPolicy):
    """x, y, z of each row: seed, num_steps (-1: none given), largest weight of the guidance; gripper: candidates."""

    rows, contract = 10, PlainContract(ROBOT.state_names, ROBOT.action_names)
    understanding = "a stub tries any sentence"

    def infer_chunk(self, observation, previous, options):
        rows = np.tile(observation.state, (self.rows, 1))
        steps = -1 if options.num_steps is None else options.num_steps
        rows[:, :3] = options.seed, steps, options.pull.max_weight
        rows[:, 7] = options.candidates
        names, step_ns = ROBOT.action_names, ROBOT.step_ns
        return ActionChunk(rows, names, observation.obs_ns, step_ns, 0, observation.instruction)


# In place of the module that imports torch, which takes long on a busy machine.
loads = types.ModuleType("vla_policy.ros.nodes.policy_startup")
loads.REFUSALS = (ValueError,)
loads.load = lambda *_arguments, **_options: OptionsModel()
sys.modules[loads.__name__] = loads

from vla_policy.ros.nodes import policy_node  # noqa: E402

sys.exit(policy_node.main())
