"""Episodes of a policy's own: its actions are the labels, and what it fails in is not kept."""

from pathlib import Path

import numpy as np
import pytest

from vla_policy.data.shards import read_shard, shard_path
from vla_policy.evaluate.expert_policy import ExpertPolicy
from vla_policy.evaluate.own_episodes import make_own_episodes
from vla_policy.policy import load_local
from vla_policy.sim.demonstrations.expert import expert_action
from vla_policy.train.training_set import open_training_set
from vla_policy.types import ActionChunk


class Doing(ExpertPolicy):
    """One row at a time; its gripper never opens wider than WIDE, by which its actions are known."""

    WIDE = 0.9

    def infer_chunk(self, observation, previous, options) -> ActionChunk:
        action = expert_action(self._task, self._world.truth())
        pose = self.pose(action.arms[0].pose, observation.state[:7])
        row = [*pose, min(action.arms[0].gripper, self.WIDE)]
        return ActionChunk(
            np.array([row]), self.contract.action_names, observation.obs_ns, 100_000_000, 0,
            observation.instruction, terminate=action.terminate,
        )  # fmt: skip

    def pose(self, goal: np.ndarray, now: np.ndarray) -> np.ndarray:
        return goal


class Still(Doing):
    def pose(self, goal: np.ndarray, now: np.ndarray) -> np.ndarray:
        return now


@pytest.mark.slow
def test_an_episode_of_its_own_has_its_own_actions(tmp_path: Path) -> None:
    made = make_own_episodes(Doing(), "vx300s", tmp_path, 1, 3, "raycast")
    assert made.kept == 1 <= made.tried
    arrays, texts = read_shard(shard_path(tmp_path, 0))
    assert arrays["action"][:, 6].max() == np.float32(Doing.WIDE)  # of the expert 1
    assert arrays["action"][-1, 7] == 1  # the policy said that it is done
    contract = load_local("tiny", engine="off").contract
    learned = open_training_set(tmp_path, contract, rows=10)
    assert len(learned.episodes) == 1 and learned[0].observation.instruction == texts[0][0]


def test_a_policy_that_succeeds_in_nothing_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla_policy.sim.demonstrations.record.FRAMES_PER_S", 0.3)
    with pytest.raises(ValueError, match="succeeded in 0 of 3 tasks, expected 1"):
        make_own_episodes(Still(), "vx300s", tmp_path, 1, 3, "raycast")
    assert not list(tmp_path.iterdir())
