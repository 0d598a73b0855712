"""Free sentences: what a checkpoint without encoders does with them, and what is refused before any encoder is asked."""

from dataclasses import replace

import pytest

from vla_policy.families.tiny import meaning
from vla_policy.models import config
from vla_policy.models.vla import VLA
from vla_policy.policy import load_local
from vla_policy.train.meaning.assemble import assemble
from vla_policy.types import Reason

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


def test_small_is_put_together_from_tiny_and_the_new_parts_alone() -> None:
    other = VLA(config.small(TINY.model.config.vocab))
    wide = other.vision.wide.state_dict()
    tower = TINY.model.vision.state_dict()
    small = assemble(TINY, {"place.0.bias": tower["place.0.bias"] + 1}, wide)
    weights, before = small.model.state_dict(), TINY.model.state_dict()
    changed = {name for name in before if not weights[name].equal(before[name])}
    assert changed == {"vision.place.0.bias"}
    assert weights["vision.wide.query.weight"].equal(wide["query.weight"])
    assert small.contract.image_px == 224 and TINY.contract.image_px == 96
