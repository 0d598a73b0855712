"""Meta-World's tasks as trials, where the package is installed: in an environment of its own, with MUJOCO_GL=egl or osmesa."""

import os
from importlib.util import find_spec

import numpy as np
import pytest

from vla_policy.evaluate.measures import FILM_PX, Measures
from vla_policy.evaluate.metaworld_trials import ACTIONS, STATE, MetaworldTrials
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import ActionChunk, Observation

pytestmark = pytest.mark.skipif(
    find_spec("metaworld") is None or os.environ.get("MUJOCO_GL", "disable") == "disable",
    reason="needs `pip install metaworld packaging` in an environment of its own, and MUJOCO_GL=egl",
)
SETTINGS = {"policy": "expert", "seed": 0, "execute_rows": 0, "num_steps": None}


class Still(PlainPolicy):
    """Four rows of nothing; keeps what it saw."""

    rows = 4

    def __init__(self) -> None:
        self.contract = PlainContract(STATE, ACTIONS, 64)
        self.seen: list[Observation] = []

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        self.seen.append(observation)
        return ActionChunk(np.zeros((4, 4)), ACTIONS, observation.obs_ns, 12_500_000, 0, "")


def test_its_own_script_does_its_task_the_same_way_every_time():
    trials = MetaworldTrials(SETTINGS)
    measures = Measures(films=True)
    first = trials.run("metaworld_reach", 1, measures)
    assert first.success and first.instruction == "reach" and 0 < first.seconds < 6
    assert {frame.shape for frame in measures.frames} == {(FILM_PX[1], FILM_PX[0], 3)}
    assert MetaworldTrials(SETTINGS).run("metaworld_reach", 1) == first


def test_a_policy_sees_camera_state_and_words_and_looks_again_after_half_a_chunk():
    trials = MetaworldTrials(SETTINGS)
    trials.policy = policy = Still()
    result = trials.run("metaworld_mt10", 4)
    assert (result.success, result.failure, result.kind) == (False, "not_finished", "drawer-open")
    assert len(policy.seen) == 250
    (image,) = policy.seen[0].images.values()
    assert image.shape == (64, 64, 3) and image.std() > 10
    assert policy.seen[0].state_names == STATE and policy.seen[0].instruction == "drawer open"
    with pytest.raises(ValueError, match="got trial 50, expected fewer than 50"):
        trials.run("metaworld_reach", 50)
