"""Demonstrations of the simulation become a set and come back with the same steps."""

from __future__ import annotations

import numpy as np
import pytest

from vla_policy.data.conversion.bags import Options
from vla_policy.data.conversion.shard_sets import (
    Body,
    body_of,
    set_to_shards,
    shards_to_set,
    steps,
    targets,
)
from vla_policy.data.frames import load_frames, robot_of
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.shards import read_shard, shard_path, write_shard
from vla_policy.embodiment import load_embodiment

ROBOTS = ("vx300s", "vx300s_pair", "vx300s_mobile")
FORWARD = np.array([0.0, 1.0, 0.0, 0.0])


def unit(rng) -> np.ndarray:
    turn = rng.normal(size=4)
    return turn / np.linalg.norm(turn)


def a_shard(folder, index, robot, lengths=(5, 4), what="episodes", first=0):
    """Episodes of random small steps, pictures that tell their row."""
    rng = np.random.default_rng(index)
    body = body_of(load_embodiment(robot))
    arms, n = len(body.arms), sum(lengths)
    state = np.concatenate(
        [np.concatenate((rng.uniform(-0.4, 0.4, (n, 3)), [unit(rng) for _ in range(n)], rng.uniform(0, 1, (n, 1))), 1) for _ in range(arms)], 1
    )  # fmt: skip
    step = [np.concatenate((rng.uniform(-0.03, 0.03, (n, 3)), rng.uniform(-0.1, 0.1, (n, 3)), rng.uniform(0, 1, (n, 1))), 1) for _ in range(arms)]  # fmt: skip
    last = np.cumsum(lengths) - 1
    terminate = np.isin(np.arange(n), last).astype(float)[:, None]
    speeds = rng.uniform(-0.2, 0.2, (n, len(body.base)))
    action = np.concatenate((*step, terminate, speeds), 1)
    grey = np.broadcast_to((20 * np.arange(n) + 30).astype(np.uint8)[:, None, None, None], (n, 96, 96, 3))  # fmt: skip
    wrist = grey if arms == 1 else np.stack([grey] * arms, 1)
    episode = np.repeat(np.arange(first, first + len(lengths)), lengths)
    arrays = {
        "front": np.array(grey), "wrist": np.array(wrist), "state": state.astype(np.float32),
        "action": action.astype(np.float32), "episode": episode.astype(np.int32),
    }  # fmt: skip
    texts = [[f"task {number}", "said otherwise"] for number in episode]
    write_shard(shard_path(folder, index), arrays, texts, {"what": what, "robot": robot})
    return arrays


@pytest.mark.parametrize("robot", ROBOTS)
def test_shards_become_a_set_and_come_back(tmp_path, robot):
    arrays = a_shard(tmp_path / "shards", 0, robot)
    outcome = shards_to_set(tmp_path / "shards", tmp_path / "set")
    assert (outcome.episodes, outcome.frames) == (2, 9)
    data = open_set(tmp_path / "set")
    assert (data.robot_type, data.fps) == (robot, 10)
    assert [data.task(k) for k in range(2)] == ["task 0", "task 1"]
    assert data.success(0) is True
    assert np.array_equal(np.concatenate([data.rows(k)["observation.state"] for k in range(2)]), arrays["state"])  # fmt: skip
    set_to_shards(tmp_path / "set", tmp_path / "back")
    back, texts = read_shard(shard_path(tmp_path / "back", 0))
    assert np.array_equal(back["state"], arrays["state"])
    assert np.abs(back["action"] - arrays["action"]).max() < 1e-6
    assert back["wrist"].shape == arrays["wrist"].shape
    assert np.abs(back["front"].astype(int) - arrays["front"]).max() < 6
    assert texts == [[f"task {e}"] for e in arrays["episode"]]
    assert robot_of(tmp_path / "back") == robot
    assert len(load_frames(tmp_path / "back")) == 9


def test_a_target_is_where_the_step_leads():
    body = Body(("",), ())
    state = np.array([0.3, 0.0, 0.2, *FORWARD, 1.0])
    step = np.array([0.01, -0.02, 0.0, 0.0, 0.0, 2 * np.sin(0.05), 0.25, 0.0])
    pose = targets(step, state, body)
    assert pose[:3] == pytest.approx([0.31, -0.02, 0.2])
    # A turn of 0.1 rad about the vertical of the base, before what the tool was turned.
    assert pose[3:7] == pytest.approx([-np.sin(0.05), np.cos(0.05), 0.0, 0.0])
    assert pose[7] == 0.25
    assert steps(pose, state, body, terminate=False) == pytest.approx(step, abs=1e-7)


def test_a_run_that_was_stopped_goes_on(tmp_path):
    a_shard(tmp_path / "shards", 0, "vx300s")
    a_shard(tmp_path / "shards", 1, "vx300s", first=7)

    def stop(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards_to_set(tmp_path / "shards", tmp_path / "set", tell=stop)
    outcome = shards_to_set(tmp_path / "shards", tmp_path / "set")
    assert (outcome.skipped, outcome.episodes) == (2, 2)
    assert len(open_set(tmp_path / "set").entries) == 4
    first = set_to_shards(tmp_path / "set", tmp_path / "back")
    assert (first.episodes, set_to_shards(tmp_path / "set", tmp_path / "back").skipped) == (4, 4)


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path):
    a_shard(tmp_path / "scenes", 0, "vx300s", what="scenes")
    with pytest.raises(ValueError, match="has single scenes, expected episodes"):
        shards_to_set(tmp_path / "scenes", tmp_path / "set")
    a_shard(tmp_path / "shards", 0, "vx300s")
    with pytest.raises(ValueError, match="lacks the state of this robot"):
        shards_to_set(tmp_path / "shards", tmp_path / "set", Options(robot="vx300s_pair"))
    with pytest.raises(ValueError, match=r"'so101'.*expected poses of tools and grippers"):
        shards_to_set(tmp_path / "shards", tmp_path / "set", Options(robot="so101"))
    shards_to_set(tmp_path / "shards", tmp_path / "other")
    with pytest.raises(ValueError, match="got a set of robot 'vx300s', expected 'vx300s_pair'"):
        set_to_shards(tmp_path / "other", tmp_path / "back", Options(robot="vx300s_pair"))
