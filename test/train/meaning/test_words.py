"""Training sentences of `small` name their thing, say one intent, and are none of the held-out ones."""

import ast
import json
import re
from pathlib import Path

import numpy as np

from vla_policy.data.web.concepts import Concept
from vla_policy.models.wide import INTENTS
from vla_policy.train.meaning.words import (
    CONTRASTS,
    NEITHER,
    NOT_SUMS,
    ONE_THING,
    OTHER_LANGUAGES,
    SENSELESS,
    SUMS,
    error_is_held_out,
    forms,
    is_held_out_word,
    other_words,
    pairs,
    sentences_about,
    sentences_about_digit,
    sentences_with_errors,
    sums,
    typing_error,
)

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
HELD_OUT = json.loads((BENCHMARKS / "meaning_holdouts.json").read_text())
NAMES = {"en": "kiwi", "de": "kiwi", "es": "kiwi", "fr": "kiwi", "zh": "猕猴桃"}


def test_no_form_of_the_hold_outs_is_a_training_form() -> None:
    known = {
        f for language in ("en", *OTHER_LANGUAGES) for i in INTENTS[1:] for f in forms(language, i)
    }
    known |= {form for some in CONTRASTS.values() for form in some} | {*NEITHER, *ONE_THING}
    assert not known & {one["sentence"] for one in HELD_OUT["sentences"]}
    assert not any("sum of" in form for form in (*SUMS, *NOT_SUMS))  # how the benchmark says it
    assert not set(SUMS) & set(NOT_SUMS)
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


def test_no_training_text_has_a_typing_error_that_is_held_out() -> None:
    rng = np.random.default_rng(0)
    made = {typing_error("pineapple", rng) for _ in range(300)}
    assert any(map(error_is_held_out, made)) and not all(map(error_is_held_out, made))
    said = [text for text, _ in sentences_with_errors("pineapple", rng, 120)]
    words = {word for text in said for word in text.split()}
    assert any(word in made for word in words)
    assert not any(error_is_held_out(word) for word in words & made)
    assert all("ant" in text for text, _ in sentences_with_errors("ant", rng, 20))


def test_other_words_are_of_one_thing_alone_and_none_that_the_benchmark_asks_with() -> None:
    def thing(name: str, role: str, *tags: str) -> Concept:
        return Concept(name, {"en": name}, "animal-mammal", role, tags)

    web = [
        thing("goat", "web", "kid", "bunnies", "puppy", "horned", "red", "billy bear", "swing"),
        thing("lamp", "web", "horned", "lantern"),
        thing("bear", "robot", "grizzly", "swing"),
        thing("rat", "nowhere", "rodent"),
    ]
    assert other_words(web) == {"goat": ("kid", "bunnies"), "lamp": ("lantern",)}


def test_the_words_of_the_benchmark_are_held_out() -> None:
    tree = ast.parse((BENCHMARKS / "meaning_words.py").read_text())
    asked = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("SYNONYMS", "CATEGORIES")
    }  # fmt: skip
    phrases = [phrase for some in asked.values() for phrase in some.values()]
    words = {word for phrase in phrases for word in re.findall(r"[\w']+", phrase)}
    assert len(words) > 60
    assert not [w for w in words - {"of", "to", "with"} if not is_held_out_word(w)]


def test_a_typing_error_changes_little_and_never_the_first_letter() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        wrong = typing_error("banana", rng)
        assert wrong[0] == "b" and abs(len(wrong) - 6) <= 1
    assert typing_error("猫", rng) == "猫"


def test_sums_are_of_trained_pairs_and_never_too_large() -> None:
    trained, left_out = pairs(held_out=False), pairs(held_out=True)
    assert len(trained) + len(left_out) == 36 and not set(trained) & set(left_out)
    assert all((b, a) in left_out for a, b in left_out)
    said = sums(np.random.default_rng(0), 200, trained)
    assert {pair for _, pair in said} <= set(trained) and all(a <= b for _, (a, b) in said)


def test_a_figure_is_named_by_sign_and_word() -> None:
    said = sentences_about_digit(3, np.random.default_rng(0), 60)
    assert said[0] == ("3", 0) and len(said) == 60
    assert any("three" in text for text, _ in said) and any("drei" in text for text, _ in said)
    assert {intent for _, intent in said} == {0, 1, 2, 3}
