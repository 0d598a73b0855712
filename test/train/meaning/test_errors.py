"""Names said otherwise get the query of the name, and what is said rightly keeps its own."""

from unittest.mock import create_autospec

import pytest
import torch
import torch.nn.functional as F

from vla_policy.models.config import WideConfig
from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning import errors
from vla_policy.train.meaning.learn import ERRORS, TEXTS, EncodedTexts

WIDTH, NAMES = 32, 6


def test_another_word_and_an_error_come_near_the_name() -> None:
    torch.manual_seed(0)
    head = WidePointing(
        WideConfig("efficientnet_lite0", "use_multilingual", 64, 16, 8, WIDTH, NAMES)
    )
    names, wrong, others = torch.eye(WIDTH)[: 3 * NAMES].split(NAMES)
    said = torch.cat(
        (names[:, None].expand(-1, TEXTS, -1), wrong[:, None].expand(-1, ERRORS, -1)), 1
    )
    intents = torch.ones(NAMES, TEXTS + ERRORS, dtype=torch.long)
    texts = EncodedTexts(said, intents, torch.eye(WIDTH)[-1:], {})
    count = torch.ones(NAMES, errors.SAID, dtype=torch.long)
    words = errors.OtherWords(
        others[:, None].expand(-1, errors.SAID, -1), count, torch.arange(NAMES)
    )
    with torch.no_grad():
        head.known.copy_(head.queries(names))
    head.eval()
    errors.train(head, texts, words, known=NAMES, steps=150, seed=0)
    with torch.no_grad():
        for some in (names, wrong, others):
            assert F.cosine_similarity(head.queries(some), head.known).min() > 0.8


def test_a_word_that_is_far_from_the_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    near = {"goat": (1.0, 0.0), "kid": (0.8, 0.6), "prize": (0.0, 1.0)}

    def encoded(said: list[str]) -> torch.Tensor:
        return torch.tensor([near.get(text, (0.5, 0.5)) for text in said])

    monkeypatch.setattr(errors, "encoded", create_autospec(errors.encoded, side_effect=encoded))
    made = errors.other_texts({"goat": ("kid", "prize")}, {"lamp": 0, "goat": 1})
    assert made.number.tolist() == [1]
    assert made.vectors.shape == (1, errors.SAID, 2)
