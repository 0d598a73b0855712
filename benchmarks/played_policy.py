"""The real policy node around a model that swings the arm slowly from side to side, for measurements.

Environment variable PLAYED_WORK, what a chunk costs:
none  the model answers at once;
tiny  the shipped flow head infers as usual, only its rows are replaced;
busy  a thread in C keeps one core of this process busy all the time, as a network on the CPU does.
"""

import os
import sys
import threading
import types

import numpy as np

from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import ActionChunk

WORK = os.environ.get("PLAYED_WORK", "none")
ROWS = 10
STEP_M = 0.003  # per row of 0.1 s
TURN_M = 0.1  # from the middle, where the swing turns


class SwingModel(PlainPolicy):
    """Infers as asked, and answers with rows that go on in the direction of the swing."""

    rows = ROWS
    understanding = "a played policy tries any sentence"

    def __init__(self, robot, policy) -> None:
        self._robot, self._policy, self._direction = robot, policy, 1.0
        self.contract = PlainContract(robot.state_names, robot.action_names)

    def infer_chunk(self, observation, previous, options) -> ActionChunk:
        if self._policy is not None:
            self._policy.infer(observation, seed=options.seed)
        at_m = observation.state[1]
        if self._direction * at_m > TURN_M:
            self._direction = -np.sign(at_m)
        rows = np.tile(observation.state, (ROWS, 1))
        rows[:, 1] += self._direction * STEP_M * (np.arange(ROWS) + 1)
        return ActionChunk(
            rows,
            self._robot.action_names,
            observation.obs_ns,
            self._robot.step_ns,
            0,
            observation.instruction,
        )


def load(robot, name, head, device, threads) -> SwingModel:
    """In place of vla_policy.ros.nodes.policy_startup.load."""
    policy = None
    if WORK == "tiny":
        import torch

        from vla_policy.policy import load_policy

        torch.set_num_threads(threads)
        policy = load_policy(name, head=head, device=device)
    if WORK == "busy":
        threading.Thread(target=_keep_busy, daemon=True).start()
    return SwingModel(robot, policy)


def _keep_busy() -> None:
    """Multiply matrices for ever; the interpreter is free meanwhile, the core is not."""
    a = np.random.default_rng(0).normal(size=(200, 200))
    while True:
        a = np.tanh(a @ a.T / 200.0)


def main() -> int:
    # Not imported: the real one brings torch with it.
    module = types.ModuleType("vla_policy.ros.nodes.policy_startup")
    module.REFUSALS, module.load = (ValueError,), load
    sys.modules[module.__name__] = module
    from vla_policy.ros.nodes import policy_node

    return policy_node.main()


if __name__ == "__main__":
    sys.exit(main())
