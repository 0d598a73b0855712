"""Load a shipped policy, give it one observation, and print the chunk of actions that it predicts."""

import numpy as np

from vla_policy.policy import load_policy
from vla_policy.types import Observation

policy = load_policy("tiny", head="flow")
contract = policy.contract
size = (contract.image_px, contract.image_px, 3)
observation = Observation(
    images={camera: np.full(size, 127, np.uint8) for camera in contract.camera_names},
    state=np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0, 1.0]),  # x y z, quaternion xyzw, gripper
    state_names=contract.state_names,
    instruction="pick up the red cube",
    obs_ns=0,
)
chunk = policy.infer(observation, seed=0)
print(f"{len(chunk.actions)} rows, one each {chunk.step_ns / 1e9} s, of {', '.join(chunk.names)}")
print(chunk.actions.round(3))
