"""Training: a whole run on made-up frames, stopped and resumed, ends in a policy that infers."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_policy.commands import train
from vla_policy.data import frames
from vla_policy.models import tokenizer
from vla_policy.policy import load_policy
from vla_policy.train.loop import cosine
from vla_policy.train.tiny.pointing import encode_texts, heat_loss

WORDS = "pick up the red green blue cube ball cylinder put in tray".split()
Q = 4


def make_frames(folder: Path, count: int, *, episodes: bool = False) -> None:
    rng = np.random.default_rng(count)
    folder.mkdir(parents=True)
    uv = rng.random((count, Q, 3, 2)).astype(np.float32)
    xyz = rng.uniform([0.2, -0.2, 0], [0.5, 0.2, 0.1], (count, Q, 3)).astype(np.float32)
    sometimes = np.where(rng.random((count, Q, 1)) < 0.5, np.nan, xyz)
    state = np.zeros((count, 8), np.float32)
    state[:, :3], state[:, 4] = xyz[:, 0], 1.0
    arrays = {
        "front": rng.integers(0, 255, (count, 96, 96, 3), dtype=np.uint8),
        "wrist": rng.integers(0, 255, (count, 96, 96, 3), dtype=np.uint8),
        "state": state, "target_xyz": xyz, "reference_xyz": sometimes, "destination_xyz": sometimes,
        "target_colour": rng.integers(0, 6, (count, Q)), "target_shape": rng.integers(0, 3, (count, Q)),
        "front_uv": uv, "target_size": rng.uniform(0.015, 0.024, (count, Q)), "wrist_uv": uv[:, :, 0], "wrist_visible": rng.random((count, Q)) > 0.5,
    }  # fmt: skip
    if episodes:
        arrays |= {
            "action": rng.uniform(-0.03, 0.03, (count, 8)),
            "episode": np.arange(count) // 7,
        }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    texts = [[" ".join(rng.choice(WORDS, 5)) for _ in range(Q)] for _ in range(count)]
    (folder / "texts.json").write_text(json.dumps(texts))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_frames(root / "scenes" / "shard_0", 12)
    make_frames(root / "scenes" / "shard_1", 9)
    make_frames(root / "scenes_val" / "shard_0", 8)
    make_frames(root / "episodes" / "shard_0", 30, episodes=True)
    make_frames(root / "episodes" / "shard_1", 20, episodes=True)
    return root


def arguments(data: Path, out: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    sizes = ["--batch", "8", "--images", "4", "--draws", "2", "--threads", "1", "--held-out", "12"]
    return parser.parse_args(["--data", str(data), "--out", str(out), *sizes, *more])


def test_train_stop_resume_infer(data: Path, tmp_path: Path) -> None:
    steps = ["--pointing-steps", "2", "--heads-steps", "2"]
    assert train.run(arguments(data, tmp_path / "run", *steps)) == 0
    first = (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes()
    assert (
        train.run(arguments(data, tmp_path / "run", "--pointing-steps", "2", "--heads-steps", "4"))
        == 0
    )
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes() != first
    records = [
        json.loads(x) for x in (tmp_path / "run" / "heads.log.jsonl").read_text().splitlines()
    ]
    assert [r["step"] for r in records] == [2, 4]
    assert all(np.isfinite(list(r.values())).all() for r in records)
    for head in ("flow", "token"):
        load_policy(str(tmp_path / "run" / "checkpoint"), head=head)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights(data: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        steps = ["--pointing-steps", "2", "--heads-steps", "2"]
        train.run(arguments(data, tmp_path / name, *steps))
        weights.append((tmp_path / name / "checkpoint" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_shards_are_one_sequence(data: Path) -> None:
    loaded = frames.load_frames(data / "scenes")
    assert len(loaded) == 21
    front, wrist = loaded.images(np.array([13, 0, 20]))
    np.testing.assert_array_equal(front[0], np.load(data / "scenes" / "shard_1" / "front.npy")[1])
    np.testing.assert_array_equal(front[1], np.load(data / "scenes" / "shard_0" / "front.npy")[0])
    np.testing.assert_array_equal(wrist[2], np.load(data / "scenes" / "shard_1" / "wrist.npy")[8])
    with pytest.raises(FileNotFoundError, match="vla generate"):
        frames.load_frames(data / "nothing")


def test_chunks_stop_at_the_end_of_an_episode(data: Path) -> None:
    loaded = frames.load_frames(data / "episodes")
    chunks = frames.action_chunks(loaded, 10)
    action, position = loaded.arrays["action"], loaded.arrays["state"][:, :3]
    went = position[0] + chunks[0, :7, 1:4].cumsum(0)  # an episode has 7 frames
    np.testing.assert_allclose(went, position[:7] + action[:7, :3], atol=1e-6)
    np.testing.assert_allclose(chunks[0, :7, 4:7], action[:7, 3:6], rtol=1e-6)
    np.testing.assert_allclose(chunks[0, 6, 0], action[6, 7], rtol=1e-6)
    assert (chunks[0, 7:, 1:7] == 0).all()
    assert (chunks[0, 7:, 0] == 1).all()
    np.testing.assert_allclose(chunks[0, 7:, 7], action[6, 6], rtol=1e-6)
    # the last frame of the first shard
    np.testing.assert_allclose(chunks[29, 0, 1:4], action[29, :3], atol=1e-6)
    assert (chunks[29, 1:, 0] == 1).all()


def test_heat_is_lowest_at_the_place_and_ignores_what_is_out_of_view() -> None:
    side = (torch.arange(24) + 0.5) / 24
    v, u = torch.meshgrid(side, side, indexing="ij")
    uv = torch.stack((u, v), -1).reshape(-1, 2)
    place = torch.tensor([[0.3, 0.7]])
    right = -((uv - place) ** 2).sum(-1)[None] / (2 * 0.04**2)
    wrong = -((uv - place.flip(-1)) ** 2).sum(-1)[None] / (2 * 0.04**2)
    one = torch.ones(1)
    assert heat_loss(right, place, one, uv) < heat_loss(torch.zeros(1, 576), place, one, uv)
    assert heat_loss(torch.zeros(1, 576), place, one, uv) < heat_loss(wrong, place, one, uv)
    assert heat_loss(wrong, place * torch.nan, torch.zeros(1), uv) == 0


def test_training_reads_what_the_policy_reads() -> None:
    tokens = tokenizer.build(WORDS)
    sentences = ["Pick up the RED cube.", "put green_ball in tray"]
    for question in tokenizer.QUESTIONS:
        prompts = [tokenizer.prompt(question, s) for s in sentences]
        ids = encode_texts(tokens, prompts, 20, None)
        assert ids.tolist() == [tokenizer.encode(tokens, p, ids.shape[1]) for p in prompts]
        assert (ids != tokens.token_to_id(tokenizer.UNK)).all()
    jittered = encode_texts(tokens, prompts * 200, 20, np.random.default_rng(0))
    changed = jittered != ids.repeat(200, 1)
    assert 0.02 < changed.float().mean() < 0.06
    assert not changed[:, 0].any()  # the question is no word


def test_schedule() -> None:
    factors = [cosine(s, 1000, 100) for s in range(1000)]
    assert factors[99] == 1.0 and max(factors) == 1.0
    assert factors[:100] == sorted(factors[:100])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert factors[-1] == pytest.approx(0.01, abs=1e-3)
