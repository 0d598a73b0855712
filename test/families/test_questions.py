"""Questions: what is one, what is asked, and what is answered of an image that the encoders see."""

from dataclasses import replace
from unittest.mock import create_autospec, patch

import numpy as np
import pytest
import torch

from vla_policy.families.language import heard
from vla_policy.families.tiny import answers, meaning
from vla_policy.families.tiny.questions import asked_thing, asks_what_is_there, is_question
from vla_policy.models import config, encoders
from vla_policy.models.efficientnet import CHANNELS, STRIDES
from vla_policy.models.vla import VLA
from vla_policy.policy import load_local
from vla_policy.runtime.observation import blank_observation
from vla_policy.types import QUESTION, Reason

TINY = load_local("tiny", embodiment="vx300s")


@pytest.mark.parametrize(
    "said",
    (
        "is there a banana?", "What is on the table", "which is larger?", "do you see a key?", "gibt es eine Banane?",
        "¿qué hay en la mesa?", "y a-t-il une banane ?", "桌子上有什么？", "where is the cup", "are there any cups here",
    ),
)  # fmt: skip
def test_what_asks_is_a_question(said: str) -> None:
    assert is_question(heard(said))


@pytest.mark.parametrize(
    "said",
    (
        "pick up the banana", "could you please lift the key", "can you pick up the cup?", "do you mind handing me the cup",
        "would you put the key in the tray?", "when you are ready, take the cup", "leg die Banane auf die Matte", "",
    ),
)  # fmt: skip
def test_what_asks_for_something_is_none(said: str) -> None:
    assert not is_question(heard(said))


@pytest.mark.parametrize(
    ("said", "thing"),
    [
        ("is there a banana?", "banana"),
        ("Is there a red cube on the table?", "red cube"),
        ("do you see the light bulb", "light bulb"),
        ("are there any keys here?", "keys"),
        ("gibt es eine Banane?", "banane"),
        ("hay una llave en la mesa", "llave"),
        ("桌子上有香蕉吗", "香蕉"),
        ("which is larger?", None),
        ("what is on the table?", None),
    ],
)
def test_the_thing_that_is_asked_for_is_read(said: str, thing: str | None) -> None:
    assert asked_thing(heard(said)) == thing


@pytest.mark.parametrize(
    "said", ("what is on the table?", "what do you see", "What's there?", "was siehst du?")
)
def test_what_is_there_is_asked(said: str) -> None:
    assert asks_what_is_there(heard(said))


def test_without_encoders_no_question_is_answered() -> None:
    seen = blank_observation(TINY.contract)
    with pytest.raises(ValueError, match="answers no questions"):
        TINY.ask(seen, "is there a banana?")


@pytest.fixture
def small():
    """`small` with random weights, before an encoder that sees features of noise."""
    torch.manual_seed(0)
    checkpoint = replace(
        TINY.checkpoint,
        model=VLA(config.small(TINY.checkpoint.model.config.vocab)).eval(),
        language=replace(TINY.checkpoint.language, named=("kiwi", "bulb")),
    )
    wide = checkpoint.model.vision.wide
    for head, biases in ((wide.intent, [0.0, 9.0, 0.0, 0.0]), (wide.reader.unclear, [-9.0])):
        head[-1].weight.data.zero_()
        head[-1].bias.data.copy_(torch.tensor(biases))
    wide.known.copy_(torch.nn.functional.normalize(torch.randn_like(wide.known), dim=-1))

    def features(images: np.ndarray) -> tuple[torch.Tensor, ...]:
        n, side = images.shape[:2]
        return tuple(torch.randn(n, c, side // s, side // s) for c, s in zip(CHANNELS, STRIDES, strict=True))  # fmt: skip

    trunk = create_autospec(encoders.features, side_effect=features)
    words = create_autospec(encoders.sentence_vector, side_effect=lambda said: torch.randn(512))
    with patch.object(encoders, "features", trunk), patch.object(encoders, "sentence_vector", words):  # fmt: skip
        yield checkpoint


PICTURE = np.zeros((224, 224, 3), np.uint8)


def test_a_question_is_no_command(small) -> None:
    told = meaning.meaning(small, "is there a kiwi?")
    assert isinstance(told, Reason) and told.code == QUESTION


@pytest.mark.parametrize(("least", "word"), [(-1e6, "yes"), (1e6, "no")])
def test_whether_a_thing_is_there_is_told_as_for_a_command(small, least: float, word: str) -> None:
    small.model.vision.wide.least.fill_(least)
    with torch.inference_mode():
        said = answers.answer(small, PICTURE, "is there a kiwi?")
    assert said.startswith(f"{word}, 'kiwi' is") and "seen" in said


def test_what_there_is_is_told_by_the_names_of_the_crops(small) -> None:
    crops = small.model.vision.wide.crops
    crops.nothing.data.fill_(1e3)
    assert "nothing is surely" in answers.answer(small, PICTURE, "what is on the table?")
    crops.nothing.data.fill_(-1e3)
    crops.sharpness.data.fill_(-20.0)  # all names are alike
    told = answers.answer(small, PICTURE, "what is on the table?")
    assert told == f"on the table it sees {answers.MOST_PLACES} x a thing that it cannot name"
    crops.sharpness.data.fill_(3.0)
    same = torch.nn.functional.normalize(torch.ones(192), dim=0)
    small.model.vision.wide.known[1] = same
    crops.key[-1].weight.data.zero_()
    crops.key[-1].bias.data.fill_(1.0)
    told = answers.answer(small, PICTURE, "what is on the table?")
    assert told == f"on the table it sees {answers.MOST_PLACES} x bulb"


def test_what_it_cannot_answer_it_says(small) -> None:
    assert "answers only what is on" in answers.answer(small, PICTURE, "which is larger?")
    nameless = replace(small, language=replace(small.language, named=()))
    told = answers.answer(nameless, PICTURE, "what is on the table?")
    assert told == "it answers only whether a thing is there that is named"
