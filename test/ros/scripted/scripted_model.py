"""A model that moves every part of a robot a little; an instruction takes four seconds, whatever it says."""

from scripted_rows import ENDS_NS, actions_of, rows_count

from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import ActionChunk


class ScriptedModel(PlainPolicy):
    understanding = "a script tries any sentence"

    def __init__(self, robot):
        self.robot, self.rows = robot, rows_count(robot)
        self.contract = PlainContract(robot.state_names, robot.action_names)
        self.instruction, self.begun_ns, self.sequence = None, 0, 0

    def infer_chunk(self, observation, previous, options):
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
