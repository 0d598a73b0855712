"""Several observations in one batch: each gets the chunk that it gets alone."""

import numpy as np
import pytest
from pi0_folders import copied, policy_file

from vla_policy.models.sampling import InferenceOptions
from vla_policy.policy import load_policy
from vla_policy.remote.answers import answer, kind_of
from vla_policy.remote.messages import Asked
from vla_policy.types import Observation

WORDS = ("pick up the red cube", "push the blue ball left", "pick up the ball")


def seen(policy, index):
    rng = np.random.default_rng(index)
    contract = policy.contract
    neutral = {"x": 0.3 + 0.02 * index, "z": 0.2, "qw": 1.0, "gripper": 1.0}
    side = contract.image_px
    return Observation(
        {n: rng.integers(0, 255, (side, side, 3), dtype=np.uint8) for n in contract.camera_names},
        np.array([neutral.get(n.rpartition(".")[2], 0.0) for n in contract.state_names]),
        contract.state_names,
        WORDS[index],
        index + 1,
    )


@pytest.fixture(scope="module", params=["tiny", "pi0", "pi05", "pi0 plain"])
def policy(request, tmp_path_factory):
    if request.param == "tiny":
        return load_policy("tiny", head="flow")
    kind, _, plain = request.param.partition(" ")
    folder = tmp_path_factory.mktemp(kind)
    file = policy_file(folder, copied(folder, kind))
    return load_policy(str(file), engine="off" if plain else "auto")


def test_a_batch_is_what_each_is_alone(policy):
    observations = [seen(policy, i) for i in range(3)]
    options = [InferenceOptions(seed=i) for i in range(3)]
    many = policy.infer_many(observations, options)
    for chunk, observation, option in zip(many, observations, options, strict=True):
        alone = policy.infer_chunk(observation, None, option)
        np.testing.assert_allclose(chunk.actions, alone.actions, atol=2e-5)
        assert (chunk.instruction, chunk.obs_ns) == (alone.instruction, alone.obs_ns)


def asked(observation, /, **other):
    values = {
        "want": "infer", "observation": observation, "instruction": observation.instruction,
        "options": InferenceOptions(seed=1), "previous": None, "candidates": 1, "question": "",
        "deadline_s": None, "request_id": 1, "own": True,
    }  # fmt: skip
    return Asked(**{**values, **other})


def test_what_belongs_into_a_batch():
    policy = load_policy("tiny", head="flow")
    one = asked(seen(policy, 0))
    assert kind_of(one) == kind_of(asked(seen(policy, 1), options=InferenceOptions(seed=9)))
    assert kind_of(one) != kind_of(asked(seen(policy, 1), options=InferenceOptions(num_steps=3)))
    assert kind_of(asked(seen(policy, 0), want="sees")) is None
    assert kind_of(asked(seen(policy, 0), options=InferenceOptions(candidates=2))) is None
    wrong = asked(seen(policy, 1), instruction="dance", observation=None)
    errors = []
    outcomes = answer(policy, [one, wrong, one], errors.append, policy.infer_many)
    assert len(outcomes[0]) == 1 and outcomes[1].code == "refused" and not errors
    np.testing.assert_array_equal(outcomes[0][0].actions, outcomes[2][0].actions)
