"""Free sentences: what a checkpoint without encoders does with them, and what is refused before any encoder is asked."""

from dataclasses import replace
from unittest.mock import create_autospec, patch

import numpy as np
import pytest
import torch

from vla_policy.families.tiny import meaning
from vla_policy.models import config, encoders
from vla_policy.models.efficientnet import EfficientNetLite0
from vla_policy.models.pointing import unpack
from vla_policy.models.vla import VLA
from vla_policy.policy import load_local
from vla_policy.train.meaning.assemble import assemble
from vla_policy.types import Reason

PARTS = {"refuses": 0.03, "accepts": 0.25}
TINY = load_local("tiny", embodiment="vx300s").checkpoint


def test_without_encoders_no_free_sentence_has_a_meaning() -> None:
    assert meaning.meaning(TINY, "pick up the kiwi") is None


@pytest.mark.parametrize(
    "said",
    ("don't touch the kiwi", "nimm nicht die kiwi", "ne prends pas le kiwi", "不要拿猕猴桃"),
)
def test_a_negation_is_refused_by_word_before_the_encoder_reads_it(said: str) -> None:
    small = replace(TINY, model=VLA(config.small(TINY.model.config.vocab)))
    refused = meaning.meaning(small, said)
    assert isinstance(refused, Reason) and "cannot read a negation" in refused.detail


@pytest.mark.parametrize(
    "said",
    ("the kiwi, I mean the bulb", "pick up the other kiwi", "lieber die Glühbirne statt der Kiwi",
     "plutôt l'ampoule", "la bombilla, otra", "除了猕猴桃"),
)  # fmt: skip
def test_a_sentence_that_takes_back_or_excludes_is_refused_by_word(said: str) -> None:
    small = replace(TINY, model=VLA(config.small(TINY.model.config.vocab)))
    refused = meaning.meaning(small, said)
    assert (
        isinstance(refused, Reason) and "which one thing is meant is not clear" in refused.detail
    )


def test_small_is_put_together_from_tiny_and_the_new_parts_alone() -> None:
    other = VLA(config.small(TINY.model.config.vocab))
    wide = other.vision.wide.state_dict()
    tower = TINY.model.vision.state_dict()
    small = assemble(TINY, {"place.0.bias": tower["place.0.bias"] + 1}, wide, PARTS)
    weights, before = small.model.state_dict(), TINY.model.state_dict()
    changed = {name for name in before if not weights[name].equal(before[name])}
    assert changed == {"vision.place.0.bias"}
    assert weights["vision.wide.query.weight"].equal(wide["query.weight"])
    assert small.language.beyond == PARTS and TINY.language.beyond is None
    told = replace(load_local("tiny", embodiment="vx300s"), checkpoint=small).understanding
    assert "refuses 75% of what it does not see, and 3% of what is there" in told
    assert small.contract.image_px == 224 and TINY.contract.image_px == 96


@pytest.mark.parametrize(("opening", "in_hand"), [(0.7, True), (1.0, False), (0.02, False)])
def test_what_the_closed_hand_covers_is_in_it(opening: float, in_hand: bool) -> None:
    torch.manual_seed(0)
    small = replace(TINY, model=VLA(config.small(TINY.model.config.vocab)).eval())
    wide = small.model.vision.wide
    found = meaning.Meaning("pick up the object", torch.randn(512))
    image = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    trunk = EfficientNetLite0()
    whole = trunk(torch.rand(1, 3, 224, 224))

    def seen_by_trunk(images: np.ndarray) -> tuple[torch.Tensor, ...]:
        side = images.shape[1]
        return whole if side == 224 else trunk(torch.zeros(len(images), 3, side, side))

    autospec = create_autospec(encoders.features, side_effect=seen_by_trunk)
    with torch.inference_mode(), patch.object(encoders, "features", autospec):
        place = meaning.look(small, image, found, torch.tensor([[0.0, 0.0, 0.0, 1.0]])).uv
        wide.camera.zero_()[:2, 3] = place[0, 0]  # the hand is always seen there
        wide.camera[2, 3] = 1.0
        seen = meaning.look(small, image, found, torch.tensor([[0.2, 0.1, 0.1, opening]]))
    assert seen.in_hand is in_hand


def test_what_is_in_the_hand_is_where_the_tool_is() -> None:
    said = unpack(torch.randn(1, 120), 24)
    tool = torch.tensor([[0.3, 0.1, 0.12, 0.7]])
    held = meaning.carried(said, tool)
    assert held.xyz[0, 0].equal(tool[0, :3]) and not held.wrist_xyz.any()
    assert held.xyz[0, 1:].equal(said.xyz[0, 1:]) and held.value.equal(said.value)


@pytest.fixture
def reads():
    """`small` before an encoder of words, to which every sentence is a command to pick up."""
    torch.manual_seed(0)
    small = replace(TINY, model=VLA(config.small(TINY.model.config.vocab)).eval())
    intent = small.model.vision.wide.intent[-1]
    intent.weight.data.zero_()
    intent.bias.data.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))
    for head in (small.model.vision.wide.reader.readings, small.model.vision.wide.reader.unclear):
        head[-1].weight.data.zero_()
        head[-1].bias.data.fill_(-5.0)
    vector = torch.zeros(512)
    words = create_autospec(encoders.sentence_vector, return_value=vector)
    with patch.object(encoders, "sentence_vector", words):
        yield small, words


def test_a_figure_becomes_a_plain_plan_about_it(reads) -> None:
    small, _ = reads
    small.model.vision.wide.reader.says.data[5] = 7.0
    plain = meaning.meaning(small, "take the kiwi")
    assert isinstance(plain, meaning.Meaning) and plain.told == ""
    figure = create_autospec(small.model.vision.wide.reader.figure, return_value=5)
    with patch.object(small.model.vision.wide.reader, "figure", figure):
        found = meaning.meaning(small, "pick up the sum of two and three")
    assert isinstance(found, meaning.Meaning)
    assert (found.plan, found.told) == ("pick up the object", "pick up the 5")
    assert (found.vector == 7.0).all() and not plain.vector.any()


def test_what_is_unclear_is_refused(reads) -> None:
    small, _ = reads
    small.model.vision.wide.reader.unclear[-1].bias.data.fill_(5.0)
    refused = meaning.meaning(small, "take the kiwi or else the bulb")
    assert isinstance(refused, Reason) and "which one thing is meant" in refused.detail
