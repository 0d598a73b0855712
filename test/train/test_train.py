"""Generated frames as training reads them, and the losses of pointing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_frames import WORDS, make_frames

from vla_policy.data import frames
from vla_policy.families.tiny.pointing_training import heat_loss, unknown_words
from vla_policy.models import tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_frames(root / "scenes" / "shard_0", "vx300s", 12)
    make_frames(root / "scenes" / "shard_1", "vx300s", 9)
    make_frames(root / "episodes" / "shard_0", "vx300s", 30, episodes=True)
    make_frames(root / "episodes" / "shard_1", "vx300s", 20, episodes=True)
    return root


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
    prompts = [
        tokenizer.prompt(question, s) for question in tokenizer.QUESTIONS for s in sentences
    ]
    ids = torch.tensor([tokenizer.encode(tokens, p, 20) for p in prompts] * 70)
    each = [torch.Generator().manual_seed(i) for i in range(len(ids))]
    told = unknown_words(ids, tokens, each)
    longest = told.shape[1]
    assert (ids[:, longest:] == 0).all() and (ids[:, longest - 1] != 0).any()
    changed = told != ids[:, :longest]
    assert 0.02 < changed.float().mean() < 0.06
    assert not changed[:, 0].any()  # the question is no word
    assert (told[changed] == tokens.token_to_id(tokenizer.UNK)).all()
