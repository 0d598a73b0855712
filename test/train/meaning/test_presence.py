"""What sets when a thing is there asks for nothing that an evaluation does, and finds what tells."""

import pytest
import torch

from vla_policy.data.web.concepts import Concept
from vla_policy.data.web.pictures import STYLES, WebPictures
from vla_policy.models.config import WideConfig
from vla_policy.models.wide import EVIDENCE, WidePointing
from vla_policy.train.meaning import presence
from vla_policy.train.meaning.learn import EncodedTexts


def concept(name: str, role: str) -> Concept:
    return Concept(name, {"en": name}, "food-fruit", role)


def test_things_that_are_asked_for_in_an_evaluation_are_not_used() -> None:
    things = (
        concept("light bulb", "robot"),
        concept("flash light", "web"),
        concept("kiwi", "web"),
        concept("traffic light", "nowhere"),
    )
    web = WebPictures(things, dict.fromkeys(STYLES))
    assert [one.name for one in presence.validation_things(web)] == ["flash light"]


def test_the_weights_are_those_of_what_tells() -> None:
    torch.manual_seed(0)
    there = torch.arange(400) % 4 == 0
    evidence = torch.randn(400, len(EVIDENCE))
    evidence[:, 2] += 3.0 * there
    asked = presence.PresenceAsked(evidence, there, there)
    head = WidePointing(WideConfig("efficientnet_lite0", "use_multilingual", 64, 16, 8, 12, 5))
    refused, told = presence.set_presence(head, asked, shown=True, refused=0.05)
    assert refused == pytest.approx(0.05, abs=0.01) and told > 0.8
    assert head.sure[1, :-1].argmax() == 2 and not head.sure[0].any()
    assert presence.rates(presence.told(head.sure[1], asked), there, float(head.least[1])) == (
        refused,
        told,
    )


def test_another_number_of_names_than_the_head_has_room_for_is_refused() -> None:
    head = WidePointing(WideConfig("efficientnet_lite0", "use_multilingual", 64, 16, 8, 12, 5))
    texts = EncodedTexts(torch.zeros(4, 16, 12), torch.zeros(4, 16), torch.zeros(2, 12), {})
    with pytest.raises(ValueError, match="known: got 4 names, expected 5"):
        presence.set_known(head, texts, [])
