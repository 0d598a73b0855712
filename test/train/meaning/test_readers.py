"""Figures, sums and unclear texts are learned from text alone, and a sum that no text has is right as well."""

import pytest
import torch

from vla_policy.models import config
from vla_policy.models.reader import FIGURES
from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning import readers
from vla_policy.train.meaning.learn import EncodedTexts

WIDTH = 64
SIZES = config.WideConfig(
    "efficientnet_lite0", "use_multilingual", 64, 16, 8, WIDTH, known=12, crop_px=64, reads=48
)


@pytest.mark.slow
def test_a_new_pair_is_added_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH", 64)
    torch.manual_seed(0)
    word, thing, plus, two = torch.eye(WIDTH)[: FIGURES + 3].split((FIGURES, 1, 1, 1))
    thing, plus, two = thing[0], plus[0], two[0]
    every = torch.tensor([(a, b) for a in range(1, 9) for b in range(a, 10 - a)])
    new = (every == torch.tensor([2, 5])).all(1)
    summed = word[every[:, 0]] + word[every[:, 1]] + plus
    vectors = torch.cat((thing.expand(2, 4, -1), word[:, None].expand(-1, 4, -1)))
    texts = EncodedTexts(vectors, torch.zeros(12, 4), torch.zeros(1, WIDTH), {})
    other = word[every[:, 0]] + word[every[:, 1]] - plus  # two figures, no sum
    read = readers.ReadTexts(
        thing[None], summed[~new], every[~new], other, every, (thing + two)[None]
    )
    head = WidePointing(SIZES)
    others = {k: v.clone() for k, v in head.state_dict().items() if not k.startswith("reader.")}
    readers.train(head, texts, read, steps=300, seed=0)
    assert all(head.state_dict()[k].equal(v) for k, v in others.items())
    reader, centred = head.reader, head.centred
    assert reader is not None
    with torch.inference_mode():
        value = reader.value(reader.read(centred(summed[new])))
        assert round(float(value)) == 7
        assert reader.figure(centred(thing)) is None
        assert reader.is_unclear(centred(thing + two)) and not reader.is_unclear(centred(thing))
        assert reader.is_unclear(centred(other[0])) and not reader.is_unclear(centred(summed[0]))
