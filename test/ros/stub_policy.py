"""The real policy node around a model that behaves as the file STUB_MODE says, read at each call.

Any sentence that ends with a question mark is a question, which it answers. steady: 0.04 m/s to the robot's left, ten rows. done: the same, reported complete. raise, hang, memory, nan: what models do when they fail.
"""

import os
import sys
import time
import types
from pathlib import Path

import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import QUESTION, ActionChunk, Reason

ROWS = 10
MODE = Path(os.environ["STUB_MODE"])
ROBOT = load_embodiment("vx300s")


class StubModel(PlainPolicy):
    rows, contract = ROWS, PlainContract(ROBOT.state_names, ROBOT.action_names)
    understanding, can_answer = "a stub tries any sentence", True

    def understands(self, instruction):
        return Reason(QUESTION, "a question") if instruction.endswith("?") else None

    def ask(self, observation, question):
        return f"yes, of {len(observation.images)} images"

    def infer_chunk(self, observation, previous, options):
        mode = MODE.read_text().strip()
        if mode == "raise":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if mode == "memory":
            np.ones(1 << 55)
        while MODE.read_text().strip() == "hang":
            time.sleep(0.05)
        rows = np.tile(observation.state, (ROWS, 1))
        rows[:, 1] += 0.004 * (np.arange(ROWS) + 1)
        if mode == "nan":
            rows[5, 2] = np.nan
        return ActionChunk(
            rows, ROBOT.action_names, observation.obs_ns, ROBOT.step_ns, 0, observation.instruction,
            terminate=mode == "done",
        )  # fmt: skip


# In place of the module that imports torch, which takes long on a busy machine.
loads = types.ModuleType("vla_policy.ros.nodes.policy_startup")
loads.REFUSALS = (ValueError,)
loads.load = lambda *_arguments, **_options: StubModel()
sys.modules[loads.__name__] = loads

from vla_policy.ros.nodes import policy_node  # noqa: E402

sys.exit(policy_node.main())
