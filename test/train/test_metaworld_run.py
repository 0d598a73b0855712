"""The shipped run `metaworld`: from frames as `vla generate metaworld` writes them to a policy that acts. Without the package."""

import numpy as np
import pytest
import yaml

from vla_policy.cli import main
from vla_policy.data.shards import shard_path, write_shard
from vla_policy.embodiment import load_embodiment
from vla_policy.formats.native.folder import save
from vla_policy.models.sampling import InferenceOptions
from vla_policy.paths import config_dir
from vla_policy.policy import load_policy
from vla_policy.sim.metaworld_tasks import GROUPS, MT50, ROBOT, sentence_of
from vla_policy.train.tiny.robots import untrained
from vla_policy.types import Observation

UPRIGHT = (0.0, 0.5**0.5, 0.0, 0.5**0.5)
SIDE, FRAMES = 64, 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """An untrained policy, and two episodes of one task, without a reference."""
    root, rng = tmp_path_factory.mktemp("metaworld"), np.random.default_rng(0)
    count = 2 * FRAMES
    hand = np.linspace([0.0, 0.6, 0.2], [0.1, 0.7, 0.05], count)
    arrays = {
        "front": rng.integers(0, 255, (count, SIDE, SIDE, 3), dtype=np.uint8),
        "wrist": rng.integers(0, 255, (count, SIDE, SIDE, 3), dtype=np.uint8),
        "state": np.concatenate((hand, np.tile([*UPRIGHT, 1.0], (count, 1))), 1),
        "action": np.tile([0.01, 0.0, -0.01, 0.0, 0.0, 0.0, 1.0, 0.0], (count, 1)),
        "target_xyz": np.tile([0.1, 0.7, 0.02], (count, 1, 1)),
        "reference_xyz": np.full((count, 1, 3), np.nan),
        "destination_xyz": np.tile([0.0, 0.8, 0.1], (count, 1, 1)),
        "front_uv": np.tile([0.5, 0.6], (count, 1, 3, 1)),
        "wrist_uv": np.tile([0.4, 0.7], (count, 1, 1)),
        "target_size": np.full((count, 1), 0.02),
    }
    arrays = {k: v if v.dtype == np.uint8 else v.astype(np.float32) for k, v in arrays.items()}
    arrays["front_uv"][:, :, 1] = np.nan
    arrays |= {
        name: np.full((count, 1), -100, np.int8) for name in ("target_colour", "target_shape")
    }
    arrays |= {"wrist_visible": np.ones((count, 1), bool), "t": np.tile(np.arange(FRAMES), 2)}
    arrays["episode"] = np.repeat(np.arange(2, dtype=np.int32), FRAMES)
    meta = {"what": "episodes", "robot": ROBOT}
    write_shard(shard_path(root, 0), arrays, [["push back"]] * count, meta)
    robot = load_embodiment(config_dir() / "benchmarks" / f"{ROBOT}.yaml")
    words = {word for name in MT50 for word in sentence_of(name).split()}
    save(root / "start", untrained(robot, words, SIDE))
    return root


def test_fifty_tasks_of_four_groups():
    assert len(MT50) == len(set(MT50)) == 50
    assert [len(group) for group in GROUPS.values()] == [28, 11, 6, 5]


def test_the_run_makes_a_policy_that_says_positions_of_the_hand(data, tmp_path):
    content = yaml.safe_load((config_dir() / "runs" / "metaworld.yaml").read_text())
    for stage in content["stages"]:
        stage |= {"data": [str(data)], "steps": 2, "batch": 4}
    content["stages"][0]["policy"] = str(data / "start")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(content))
    assert main(["train", str(file), "--out", str(tmp_path / "run")]) == 0
    policy = load_policy(str(tmp_path / "run" / "heads" / "checkpoint"), engine="off")
    contract = policy.contract
    assert contract.camera_names == ("corner2", "near") and contract.embodiments == (ROBOT,)
    images = {name: np.zeros((SIDE, SIDE, 3), np.uint8) for name in contract.camera_names}
    state = np.array([0.0, 0.6, 0.2, *UPRIGHT, 1.0])
    seen = Observation(images, state, contract.state_names, "push back", 0)
    chunk = policy.infer_chunk(seen, None, InferenceOptions(seed=0))
    assert chunk.actions.shape == (10, 8) and chunk.step_ns == 50_000_000
    assert np.abs(chunk.actions[:, :3] - state[:3]).max() < 1.0
