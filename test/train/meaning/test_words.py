"""Training sentences of `small` name their thing, say one intent, and are none of the held-out ones."""

import json
from pathlib import Path

import numpy as np

from vla_policy.models.wide import INTENTS
from vla_policy.train.meaning.words import (
    OTHER_LANGUAGES,
    SENSELESS,
    forms,
    sentences_about,
)

HELD_OUT = json.loads((Path(__file__).parents[3] / "benchmarks/meaning_holdouts.json").read_text())
NAMES = {"en": "kiwi", "de": "kiwi", "es": "kiwi", "fr": "kiwi", "zh": "猕猴桃"}


def test_no_form_of_the_hold_outs_is_a_training_form() -> None:
    known = {
        f for language in ("en", *OTHER_LANGUAGES) for i in INTENTS[1:] for f in forms(language, i)
    }
    assert not known & {one["sentence"] for one in HELD_OUT["sentences"]}
    assert not set(SENSELESS) & set(HELD_OUT["senseless"])


def test_only_trained_languages_have_forms() -> None:
    assert not set(OTHER_LANGUAGES) & set(HELD_OUT["languages"])


def test_every_sentence_names_the_thing_and_every_intent_comes_up() -> None:
    said = sentences_about(NAMES, np.random.default_rng(0), 200)
    assert said[0] == ("kiwi", 0)
    assert all("kiwi" in text or "猕猴桃" in text for text, _ in said)
    assert {intent for _, intent in said} == {0, 1, 2, 3}
    tray = [text for text, intent in said if INTENTS[intent] == "tray" and "the kiwi" in text]
    assert tray and all("tray" in text for text in tray)
    assert not any("{" in text for text, _ in said)
