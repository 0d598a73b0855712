"""A vision that does not learn looks at each frame once, and the same is learned."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_frames import ROBOTS, TOKENS, make_frames, robot
from worker_copy import as_a_worker_gets

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.tiny import lessons, tiny
from vla_policy.families.training import LossOptions
from vla_policy.models import config
from vla_policy.models.vla import VLA
from vla_policy.train.augment import Augmentation
from vla_policy.train.mixture import Entry, Mixture
from vla_policy.train.run import DataSetConfig, Run
from vla_policy.train.seen_once import SeenOnce, seen_once, sees_once
from vla_policy.train.setup import rows_of
from vla_policy.train.training_set import TrainingSet, open_training_set


def case(folder: Path, name: str) -> tuple[Checkpoint, TrainingSet]:
    shard = folder / name / "shard_0"
    make_frames(shard, name, 14, episodes=True)
    (shard / "meta.json").write_text(json.dumps({"robot": name, "what": "episodes"}))
    state = np.load(shard / "state.npy").reshape(14, -1, 8)
    state[..., 3:7] /= np.linalg.norm(state[..., 3:7], axis=-1, keepdims=True)
    np.save(shard / "state.npy", state.reshape(14, -1))
    torch.manual_seed(0)
    checkpoint = robot(name).checkpoint(VLA(config.tiny_cross(TOKENS.get_vocab_size())).eval())
    data = open_training_set(folder / name, checkpoint.contract, rows=rows_of(checkpoint))
    return checkpoint, data


@pytest.mark.parametrize("name", ROBOTS)
def test_what_was_seen_has_the_loss_of_the_images(tmp_path: Path, name: str) -> None:
    checkpoint, data = case(tmp_path, name)
    checkpoint.model.vision.requires_grad_(False)
    training, found = lessons.TRAINING, []
    for source in (data, SeenOnce(data, checkpoint)):
        examples = [training.example(checkpoint, (), source.sample(i)) for i in range(4)]
        generator = torch.Generator().manual_seed(1)
        batch = training.collate(examples)
        loss = training.loss(checkpoint, batch, LossOptions(draws=2), generator)
        checkpoint.model.zero_grad()
        loss.total.backward()
        norms = [p.grad.norm() for p in checkpoint.model.parameters() if p.grad is not None]
        found.append(torch.stack([loss.total.detach(), *norms]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_each_frame_is_looked_at_once_for_each_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, data = case(tmp_path, "vx300s")
    looked, look = [], tiny.look

    def counted(checkpoint: Checkpoint, observation: object) -> object:
        looked.append((observation.obs_ns, observation.instruction))
        assert observation.images["front"].shape == (96, 96, 3)
        return look(checkpoint, observation)

    monkeypatch.setattr(tiny, "look", counted)
    plain = Mixture([Entry(data)], seed=3)
    stream = plain.over(lambda source: seen_once(source, checkpoint))
    drawn = [stream.sample(i) for i in range(120)]
    asked = {
        (plain.chosen(i)[1], sample.value.observation.instruction)
        for i, sample in enumerate(drawn)
    }
    assert len(looked) == len(asked) < 60
    for i in (0, 57, 119):
        want = plain.sample(i)
        assert (drawn[i].where, drawn[i].seed) == (want.where, want.seed)
        assert drawn[i].value.observation.instruction == want.value.observation.instruction


def test_a_loader_process_looks_at_the_same(tmp_path: Path) -> None:
    checkpoint, data = case(tmp_path, "vx300s")
    here = SeenOnce(data, replace(checkpoint, tokenizer=TOKENS))
    there = as_a_worker_gets(here)
    torch.testing.assert_close(here.sample(2).seen, there.sample(2).seen)


@pytest.mark.parametrize(
    "change",
    [
        {"freeze": ()},
        {"augment": Augmentation()},
        {"loss": LossOptions(instruction_dropout=0.1)},
    ],
    ids=["vision learns", "images change", "sentences are left out"],
)
def test_what_changes_from_step_to_step_is_not_kept(tmp_path: Path, change: dict) -> None:
    checkpoint, _ = case(tmp_path, "vx300s")
    run = Run(policy="tiny", data=(DataSetConfig("set"),), out="out", freeze=("vision",))
    assert sees_once(checkpoint, run)
    assert not sees_once(checkpoint, replace(run, **change))
