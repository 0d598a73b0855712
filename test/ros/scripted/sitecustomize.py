"""With this folder on PYTHONPATH, every installed policy node runs a scripted model and no network.

It takes the place of the module that loads checkpoints; all else of the node is what is installed.
Python imports this file by its name when it starts.
"""

import sys
import types


class ScriptedModel:
    """Answers as a policy does: an instruction takes four seconds, whatever it says."""

    continues = False
    understanding = "a script tries any sentence"

    def understands(self, instruction):
        return None

    def sees(self, observation):
        return None

    def __init__(self, robot):
        from scripted_rows import rows_count

        self.robot, self.rows = robot, rows_count(robot)
        self.instruction, self.begun_ns, self.sequence = None, 0, 0

    def infer(self, observation, previous=None, **_options):
        from scripted_rows import ENDS_NS, actions_of

        from vla_policy.types import ActionChunk

        if observation.instruction != self.instruction:
            self.instruction, self.begun_ns = observation.instruction, observation.obs_ns
        since_ns = observation.obs_ns - self.begun_ns
        state = dict(zip(observation.state_names, observation.state, strict=True))
        self.sequence += 1
        robot = self.robot
        return ActionChunk(
            actions_of(robot, state, since_ns), robot.action_names, observation.obs_ns,
            robot.step_ns, self.sequence, observation.instruction, terminate=since_ns > ENDS_NS,
        )  # fmt: skip


loads = types.ModuleType("vla_policy.ros.nodes.policy_startup")
loads.REFUSALS = (ValueError,)
loads.load = lambda robot, *_arguments, **_options: ScriptedModel(robot)
sys.modules[loads.__name__] = loads
