"""Generated data is the same for the same seed, complete or absent, and labelled truly."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pytest

from vla_policy.commands import generate as generate_command
from vla_policy.data.frames import load_frames
from vla_policy.data.shards import read_shard, shard_path, write_shard
from vla_policy.sim.demonstrations import generate

SCENES = 6


def digest(folder: Path) -> str:
    parts = [*sorted(folder.glob("*.npy")), folder / "texts.json"]
    return hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()


def make(what: str, out: Path, count: int, robot: str = "vx300s") -> Path:
    generate._make_shard((what, str(out), 0, 0, count, 9, "train", "raycast", 0.0, robot, ""))
    return shard_path(out, 0)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (make("scenes", tmp_path / name, SCENES) for name in "ab")
    assert digest(first) == digest(second)


def test_scene_labels_are_consistent(tmp_path: Path) -> None:
    arrays, texts = read_shard(make("scenes", tmp_path, SCENES))
    assert arrays["front"].shape == (SCENES, 96, 96, 3) and arrays["front"].dtype == np.uint8
    assert arrays["state"].shape == (SCENES, 8) and len(texts[0]) == 6
    assert np.isfinite(arrays["target_xyz"]).all()
    moved = np.array([["pad" in t or "tray" in t for t in row] for row in texts])
    has_goal = np.isfinite(arrays["destination_xyz"]).all(-1)
    assert (moved | ~has_goal).all()  # a destination is always said
    uv = arrays["front_uv"][:, :, 0]
    assert ((uv > 0) & (uv < 1)).mean() > 0.9


def test_an_episode_moves_from_state_by_action_and_ends_with_terminate(tmp_path: Path) -> None:
    arrays, texts = read_shard(make("episodes", tmp_path, 1))
    action, state = arrays["action"], arrays["state"]
    assert len(action) == len(texts) > 10
    assert (arrays["t"] == np.arange(len(action))).all()
    assert (action[-5:, 7] == 1).all() and action[: len(action) // 2, 7].max() == 0
    assert np.linalg.norm(action[:, :3], axis=1).max() < 0.0351
    # Measured steps follow the labels up to the noise that was executed.
    followed = state[1:, :3] - state[:-1, :3] - action[:-1, :3]
    assert np.linalg.norm(followed, axis=1).max() < 0.06
    assert len({row[0] for row in texts}) == 1  # the episode's own sentence stays


def test_a_shard_is_complete_or_absent_and_lengths_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="length"):
        write_shard(shard_path(tmp_path, 0), {"a": np.zeros(2)}, [["x"]], {})
    (tmp_path / "shard_00000.partial").mkdir()
    with pytest.raises(FileNotFoundError, match="vla generate"):
        load_frames(tmp_path)


@pytest.mark.parametrize("change", [{"seed": 10}, {"count": 0}])
def test_settings_out_of_range_are_refused(tmp_path: Path, change: dict) -> None:
    parser = argparse.ArgumentParser()
    generate_command.add_arguments(parser)
    args = parser.parse_args(["scenes", "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="expected"):
        generate_command.run(argparse.Namespace(**{**vars(args), **change}))


def test_existing_shards_are_not_made_again(tmp_path: Path) -> None:
    shard = shard_path(tmp_path, 0)
    write_shard(shard, {"a": np.zeros(1)}, [["kept"]], {})
    parser = argparse.ArgumentParser()
    generate_command.add_arguments(parser)
    assert (
        generate_command.run(parser.parse_args(["scenes", "--out", str(tmp_path), "--count", "5"]))
        == 0
    )
    assert read_shard(shard)[1] == [["kept"]]


@pytest.mark.slow
def test_episodes_of_one_family_show_it_alone(tmp_path: Path) -> None:
    job = ("episodes", str(tmp_path), 0, 0, 1, 9, "train", "raycast", 0.0, "vx300s", "touch")
    generate._make_shard(job)
    arrays, texts = read_shard(shard_path(tmp_path, 0))
    assert all(row[0].startswith("touch the ") for row in texts)
    assert (arrays["action"][:, 6] == 0).all()  # closed all the way


def test_a_family_that_the_robot_is_not_told_is_refused(tmp_path: Path) -> None:
    args = argparse.ArgumentParser()
    generate_command.add_arguments(args)
    words = [
        "episodes",
        "--robot",
        "vx300s_pair",
        "--family",
        "push",
        "--out",
        str(tmp_path / "x"),
    ]
    with pytest.raises(ValueError, match="vx300s_pair is told pick, put"):
        generate_command.run(args.parse_args(words))
