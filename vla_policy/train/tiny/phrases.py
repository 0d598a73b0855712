"""Sentences about one object in every trained form, each with a new word and with a known one in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from vla_policy.families.language import THINGS, Language
from vla_policy.train.tiny.new_word import NewWord

_PART = re.compile(r"\{(\w+)\}")


def phrases(
    language: Language,
    new: NewWord,
    thing: Mapping[str, str],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[str, str]]:
    """count pairs (with the new word, with a known one of its kind). thing: known attributes by kind.

    language: already contains the word.
    """
    forms = _forms(language)
    return [_pair(language, new, thing, str(rng.choice(forms)), rng) for _ in range(count)]


def twins(
    language: Language,
    new: NewWord,
    thing: Mapping[str, str],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[str, str]]:
    """count pairs (object in the new colour, object in its own colour). thing: its colour and shape.

    The second names both, so that it is unambiguous.
    """
    own = f"{thing['colour']} {thing['shape']}"
    found = []
    for form in rng.choice(_forms(language), count):
        filled = _filled(language, str(form), rng)
        name = _name(language, new, thing, rng).format(new.word)
        found.append((filled.replace("{thing}", name), filled.replace("{thing}", own)))
    return found


def _forms(language: Language) -> list[str]:
    """The trained sentences about an object."""
    forms = list(dict.fromkeys(said for _, said in language.forms if "{thing}" in said))
    if not forms:
        raise ValueError("language: got no form with a thing in it, expected one at least")
    return forms


def _filled(language: Language, form: str, rng: np.random.Generator) -> str:
    """A form with words filled in, the object left open."""
    return _PART.sub(
        lambda m: m[0] if m[1] in THINGS else str(rng.choice(language.classes[m[1]])), form
    )


def _pair(
    language: Language, new: NewWord, thing: Mapping[str, str], form: str, rng: np.random.Generator
) -> tuple[str, str]:
    others = [w for w in language.classes[new.kind] if w != new.word]
    filled = _filled(language, form, rng)
    name = _name(language, new, thing, rng)
    other = str(rng.choice(others))
    pair = (filled.replace("{thing}", name.format(w)) for w in (new.word, other))
    first, second = pair
    return first, second


def _name(
    language: Language, new: NewWord, thing: Mapping[str, str], rng: np.random.Generator
) -> str:
    """A name of the object with {} for the new word."""
    if new.kind == "colour":
        same = _same(language, "shape", thing.get("shape"))
        nouns = [*same, *language.classes.get("any", ())] if same else language.classes["any"]
        return f"{{}} {rng.choice(nouns)}"
    colour = thing.get("colour")
    return f"{colour} {{}}" if colour is not None and rng.random() < 0.5 else "{}"


def _same(language: Language, kind: str, word: str | None) -> list[str]:
    """The words of the same class as word."""
    numbers = language.looks.get(kind, {})
    return [w for w, number in numbers.items() if word is not None and number == numbers.get(word)]
