"""Which sentences a checkpoint was trained on, as data beside its weights; and whether a typed one is among them.

Case, punctuation, articles and harmless words do not matter, synonyms are put into trained words. What is left must be
one of the trained sentences, word for word; then the network reads that sentence. No list of what is not understood
is needed: everything else is refused.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from vla_policy.types import Reason

FILE = "language.json"
FORMAT = 1
MAX_PX = 1024  # side of a picture for the second look
ARTICLES = frozenset(("the", "a", "an"))
NEGATIONS = frozenset(
    "not dont doesnt no never none nothing neither nor without except cannot cant wont avoid".split()
)
_PART = re.compile(r"\{(\w+)\}")
THINGS = ("thing", "anchor")  # parts of a sentence that name an object


@dataclass(frozen=True, slots=True)
class Understood:
    """said: the trained sentence that means the same. things: words that name each thing, by their class.

    sides: (a, "left" or "right", b): the sentence places object a on that side of object b.
    """

    said: str
    things: tuple[Mapping[str, str], ...]
    sides: tuple[tuple[int, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SecondLook:
    """px: side of the picture that it sees. points: what is pointed at must be what it sees, where it sees it."""

    px: int
    points: bool


@dataclass(frozen=True)
class Language:
    """classes: words by class, as trained; the first is the plainest.

    forms: trained sentences as (heard, said); {pick} stands for a word of that class, {thing} and {anchor} for a
    form of things and anchors. synonyms: class -> heard -> trained words of it. harmless: left out anywhere,
    openings: left out at the beginning. looks: class -> word -> the class number of models/naming.py.
    examples: for people. least: scores of naming below which a thing, a thing named by its shape alone (if it is given) and
    a colour are not there; None: not looked for. accepts: the part of absent things that was taken for there with these scores
    on scenes of their own, by the same kinds (of things those whose colour was there); None: not known.
    second_look: None: it sees the picture of the network, and refuses only. beyond: of sentences that were not trained, read
    by pre-trained encoders, the part that was refused of what was there and accepted of what was not, on scenes of their own;
    None: there are no encoders, and only trained sentences are read. named: the names that those encoders compare with, for answers.
    """

    classes: Mapping[str, tuple[str, ...]]
    forms: tuple[tuple[str, str], ...]
    things: tuple[str, ...]
    anchors: tuple[str, ...]
    synonyms: Mapping[str, Mapping[str, str]]
    harmless: tuple[str, ...]
    openings: tuple[str, ...]
    examples: tuple[str, ...]
    looks: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))
    least: Mapping[str, float] | None = None
    accepts: Mapping[str, float] | None = None
    second_look: SecondLook | None = None
    beyond: Mapping[str, float] | None = None
    named: tuple[str, ...] = ()

    def read(self, sentence: str) -> Understood | Reason:
        """The trained sentence that this one means, or the reason why none does."""
        words = self._stripped(heard(sentence))
        if not words:
            return Reason("words", f"nothing is asked for; {self.known}")
        text = " ".join(words)
        for pattern, said in self._patterns:
            match = pattern.fullmatch(text)
            if match:
                return self._understood(match, said)
        return Reason("words", f"{self._why(words, heard(sentence))}; {self.known}")

    def strange(self, sentence: str) -> tuple[str, ...]:
        """The words of a sentence that stand in no trained one, each once."""
        words = self._stripped(heard(sentence))
        return tuple(dict.fromkeys(w for w in words if w not in self._vocabulary))

    def bare(self, sentence: str) -> str:
        """What is left of a sentence to be matched: no articles, no words that do not matter."""
        return " ".join(self._stripped(heard(sentence)))

    def names_thing(self, words: str) -> bool:
        """Whether words, without articles, name one of the things, as "red cube" does."""
        return any(p.fullmatch(words) for p, form in self._thing_patterns if form in self.things)

    @property
    def known(self) -> str:
        """Example instructions, for a person."""
        return "say for example " + ", ".join(repr(example) for example in self.examples)

    def _stripped(self, words: list[str]) -> list[str]:
        text = f" {' '.join(w for w in words if w not in ARTICLES)} "
        before = None
        while before != text:
            before = text
            for phrase in self.harmless:
                text = text.replace(f" {phrase} ", " ")
            for phrase in self.openings:
                if text.startswith(f" {phrase} "):
                    text = text[len(phrase) + 1 :]
        return text.split()

    def _understood(self, match: re.Match[str], said: str) -> Understood:
        groups = {k: v for k, v in match.groupdict().items() if v is not None}
        parts: dict[str, str] = {}
        things: list[Mapping[str, str]] = []
        sides: list[tuple[int, str, int]] = []
        for part in _PART.findall(said):
            if part not in THINGS:
                parts[part] = self._trained(part, groups[part])
        for part in THINGS:
            if part in groups:
                parts[part], named, side = self._named(groups[part])
                if side is not None and len(named) == 2:  # not of the tray or the pad
                    sides.append((len(things), side, len(things) + 1))
                things += named
        return Understood(_PART.sub(lambda m: parts[m[1]], said), tuple(things), tuple(sides))

    def _named(self, text: str) -> tuple[str, list[Mapping[str, str]], str | None]:
        """The trained words for an object, the classes of the objects in them, and on which side of the second the first is."""
        # The sentence's pattern was made of these, so one fits.
        matches = ((p.fullmatch(text), form) for p, form in self._thing_patterns)
        match, form = next((match, form) for match, form in matches if match)
        parts: dict[str, str] = {}
        inner: list[Mapping[str, str]] = []
        for part, words in match.groupdict().items():
            if part == "anchor":
                parts[part], inner, _ = self._named(words)
            else:
                parts[part] = self._trained(part, words)
        named = {k: v for k, v in parts.items() if k in self.looks}
        own = [] if "place" in parts else [named]  # tray and pad are always there
        side = next((s for s in ("left", "right") if s in parts.get("side", "")), None)
        return _PART.sub(lambda m: parts[m[1]], form), own + inner, side

    def _trained(self, part: str, words: str) -> str:
        for trained in self.classes[part]:
            if _bare(trained) == words:
                return trained
        return self.synonyms[part][words]

    @cached_property
    def _patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        things = [(p, form) for p, form in self._thing_patterns if form in self.things]
        thing = "|".join(p.pattern for p, _ in _nameless(things))
        names = dict.fromkeys(THINGS, f"(?:{thing})")
        return tuple(
            (re.compile(self._expression(h, names, named=True)), said) for h, said in self.forms
        )

    @cached_property
    def _thing_patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        anchors = [self._expression(form, {}, named=False) for form in self.anchors]
        names = {"anchor": f"(?:{'|'.join(anchors)})"}
        forms = dict.fromkeys((*self.things, *self.anchors))
        return tuple((re.compile(self._expression(f, names, named=True)), f) for f in forms)

    def _expression(self, form: str, names: Mapping[str, str], *, named: bool) -> str:
        out, at, bare = "", 0, _bare(form)
        for match in _PART.finditer(bare):
            part = match[1]
            options = names.get(part) or self._options(part)
            out += re.escape(bare[at : match.start()])
            out += f"(?P<{part}>{options})" if named else options
            at = match.end()
        return out + re.escape(bare[at:])

    def _options(self, part: str) -> str:
        words = {_bare(w) for w in self.classes[part]} | set(self.synonyms.get(part, {}))
        longest = sorted(words, key=lambda w: (-len(w), w))
        return f"(?:{'|'.join(re.escape(w) for w in longest)})"

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        texts = [w for words in self.classes.values() for w in words]
        texts += [w for words in self.synonyms.values() for w in words]
        texts += [*self.harmless, *self.openings, *ARTICLES]
        texts += [_PART.sub(" ", h) for h, _ in self.forms]
        texts += [_PART.sub(" ", f) for f in (*self.things, *self.anchors)]
        return frozenset(word for text in texts for word in text.split())

    def _why(self, words: list[str], all_words: list[str]) -> str:
        negation = next((w for w in all_words if w in NEGATIONS), None)
        if negation is not None:
            return f"{negation!r}: this policy cannot read a negation"
        strange = [w for w in words if w not in self._vocabulary]
        if not strange:
            return "the words are known, but not as one command put together like this"
        near = difflib.get_close_matches(strange[0], self._vocabulary, 1, 0.8)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        names = " and ".join(repr(w) for w in strange[:3])
        return f"this policy does not know {names}{hint}"


def heard(sentence: str) -> list[str]:
    """The words of a sentence: lower case, no punctuation; apostrophes join, everything else separates."""
    text = unicodedata.normalize("NFKC", sentence).casefold().replace("_", " ")
    text = re.sub("['\u2019\u02bc`]", "", text)
    return re.sub(r"[^\w]+", " ", text).split()


def to_dict(language: Language) -> dict[str, Any]:
    """Plain JSON data."""
    look = language.second_look
    return {
        "format": FORMAT,
        "examples": list(language.examples),
        "forms": [[h] if h == s else [h, s] for h, s in language.forms],
        "things": list(language.things),
        "anchors": list(language.anchors),
        "classes": {k: list(v) for k, v in language.classes.items()},
        "synonyms": {k: dict(v) for k, v in language.synonyms.items()},
        "harmless": list(language.harmless),
        "openings": list(language.openings),
        "looks": {k: dict(v) for k, v in language.looks.items()},
        "least": None if language.least is None else dict(language.least),
        "accepts": None if language.accepts is None else dict(language.accepts),
        **({} if look is None else {"second_look": {"px": look.px, "points": look.points}}),
        **({} if language.beyond is None else {"beyond": dict(language.beyond)}),
        **({"named": list(language.named)} if language.named else {}),
    }


def from_dict(data: Mapping[str, Any]) -> Language:
    """Inverse of to_dict. Raises ValueError naming what does not fit."""
    keys = {"format", "examples", "forms", "things", "anchors", "classes", "synonyms", "harmless"}
    keys |= {"openings", "looks", "least"}
    # These came later: files without them are read.
    if (
        not isinstance(data, Mapping)
        or set(data) - {"accepts", "second_look", "beyond", "named"} != keys
        or data["format"] != FORMAT
    ):
        got = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(
            f"language: got {got}, expected format {FORMAT} with {', '.join(sorted(keys))}"
        )
    for key in ("examples", "things", "anchors", "harmless", "openings"):
        _require_texts(key, data[key])
    _require_texts("named", data.get("named", []))
    for key in ("classes", "synonyms", "looks"):
        if not isinstance(data[key], Mapping):
            raise ValueError(f"language.{key}: got {data[key]!r}, expected a mapping")
    for name, words in data["classes"].items():
        _require_texts(f"classes.{name}", words)
    for name, words in data["synonyms"].items():
        if name not in data["classes"] or not isinstance(words, Mapping):
            raise ValueError(f"language.synonyms.{name}: expected a mapping for a class of words")
        for word, trained in words.items():
            if trained not in data["classes"][name]:
                raise ValueError(
                    f"language.synonyms.{name}: {word!r} means {trained!r}, which was not trained"
                )
    for name, words in data["looks"].items():
        if not isinstance(words, Mapping) or not all(
            type(number) is int and number >= 0 for number in words.values()
        ):
            raise ValueError(f"language.looks.{name}: got {words!r}, expected numbers by words")
    least, accepts = data["least"], data.get("accepts")
    if not _are_scores(least) or (least and not all(least.values())):
        raise ValueError(
            f"language.least: got {least!r}, expected thing and colour from 0 to 1, or null"
        )
    if not _are_scores(accepts):
        raise ValueError(
            f"language.accepts: got {accepts!r}, expected thing and colour from 0 to 1, or null"
        )
    beyond = data.get("beyond")
    if beyond is not None and not _are_parts(beyond):
        raise ValueError(
            f"language.beyond: got {beyond!r}, expected refuses and accepts from 0 to 1, or null"
        )
    if not isinstance(data["forms"], list):
        raise ValueError(f"language.forms: got {data['forms']!r}, expected a list")
    forms = []
    for form in data["forms"]:
        _require_texts("forms", form)
        if not 1 <= len(form) <= 2:
            raise ValueError(f"language.forms: got {form!r}, expected heard and said")
        forms.append((form[0], form[-1]))
    known = {*data["classes"], *THINGS}
    for form in (*(f for pair in forms for f in pair), *data["things"], *data["anchors"]):
        for part in _PART.findall(form):
            if part not in known:
                raise ValueError(f"language: {form!r} has {{{part}}}, expected one of {known}")
    return Language(
        classes={k: tuple(v) for k, v in data["classes"].items()},
        forms=tuple(forms),
        things=tuple(data["things"]),
        anchors=tuple(data["anchors"]),
        synonyms={k: dict(v) for k, v in data["synonyms"].items()},
        harmless=tuple(data["harmless"]),
        openings=tuple(data["openings"]),
        examples=tuple(data["examples"]),
        looks={k: dict(v) for k, v in data["looks"].items()},
        least=least,
        accepts=accepts,
        second_look=_second_look(data.get("second_look")),
        beyond=beyond,
        named=tuple(data.get("named", [])),
    )


def _second_look(value: Any) -> SecondLook | None:
    if value is None:
        return None
    px, points = (value.get(k) for k in ("px", "points")) if isinstance(value, Mapping) else (0, 0)
    if type(px) is not int or not 16 <= px <= MAX_PX or type(points) is not bool or len(value) > 2:
        raise ValueError(
            f"language.second_look: got {value!r}, expected px from 16 to {MAX_PX} and points, true or false"
        )
    return SecondLook(px, points)


def _are_scores(value: Any) -> bool:
    """Whether value is None, or has a number from 0 to below 1 by kind of thing."""
    return value is None or (
        isinstance(value, Mapping)
        and {"thing", "colour"} <= set(value) <= {"thing", "shape", "colour"}
        and all(type(v) is float and 0 <= v < 1 for v in value.values())
    )


def _are_parts(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and set(value) == {"refuses", "accepts"}
        and all(type(v) is float and 0 <= v <= 1 for v in value.values())
    )


def _require_texts(key: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise ValueError(f"language.{key}: got {value!r}, expected a list of texts")


def _bare(text: str) -> str:
    """text without articles."""
    return " ".join(word for word in text.split() if word not in ARTICLES)


def _nameless(
    patterns: Sequence[tuple[re.Pattern[str], str]],
) -> list[tuple[re.Pattern[str], str]]:
    """The patterns without names of groups, as part of another."""
    return [(re.compile(re.sub(r"\(\?P<\w+>", "(?:", p.pattern)), form) for p, form in patterns]
