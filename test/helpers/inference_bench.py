"""An inference thread with a stand-in policy and a hand-moved clock."""

from __future__ import annotations

import time
from unittest.mock import create_autospec

import numpy as np

from vla_policy.embodiment import GroupLimits
from vla_policy.embodiment.layout import JOINTS, ActionPart, Layout
from vla_policy.runtime.inference import Inference
from vla_policy.runtime.observation import SensorBuffer, StateSource
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.runtime.schedule import InferenceConfig
from vla_policy.types import ActionChunk

MS = 1_000_000


ONE = Layout(
    ("joint.a",),
    (ActionPart("arm", JOINTS, slice(0, 1), ("joint.a",), GroupLimits(), joints=(0,)),),
)


START_NS = 1_000_000 * MS


IMAGE = np.zeros((2, 2, 3), np.uint8)


def wait_for(condition, timeout_s=5.0) -> bool:
    """Poll until the inference thread has got there."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.002)
    return True


class Bench:
    """An Inference over one camera and one state stream, and what came out of it."""

    def __init__(self, infer=None, **config):
        self.now_ns = START_NS
        self.chunks, self.errors, self.places = [], [], []
        self.policy = create_autospec(PolicyProtocol, instance=True)
        self.policy.infer_chunk.side_effect = infer or self.answer
        self.camera = SensorBuffer("front/image_raw", 350 * MS)
        self.state = SensorBuffer("ee_pose", 250 * MS)
        self.policy.rows, self.policy.continues = 8, True
        self.policy.understands.return_value = self.policy.sees.return_value = None
        self.refusals = []
        config = InferenceConfig(
            ("x",), 150 * MS, execute_rows=4, step_ns=100 * MS, seed=5, layout=ONE, **config
        )
        self.inference = Inference(
            self.policy,
            {"front": self.camera},
            (StateSource(("x",), self.state),),
            config,
            now_ns=lambda: self.now_ns,
            on_chunk=self.chunks.append,
            on_error=self.errors.append,
            on_place=lambda xyz, obs_ns: self.places.append((xyz, obs_ns)),
            on_refusal=lambda instruction, why: self.refusals.append((instruction, why.code)),
        )
        self.inference.set_active(True)

    @staticmethod
    def answer(observation, previous, options):
        return ActionChunk(
            np.arange(8.0)[:, None], ("joint.a",), observation.obs_ns, 100 * MS, 0,
            observation.instruction, frozen_rows=options.frozen_rows,
            continues=None if previous is None else previous.sequence,
        )  # fmt: skip

    def show(self, at_ms: int) -> None:
        """A new instant: clock, state, image."""
        self.now_ns = START_NS + at_ms * MS
        self.inference.add(self.state, self.now_ns, np.array([1.0]))
        self.inference.add(self.camera, self.now_ns, IMAGE)

    def reason(self) -> str | None:
        reason = self.inference.status().reason
        return None if reason is None else reason.code
