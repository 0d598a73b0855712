"""Whether a text is a valid instruction for a policy, or a stop word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest

from vla_policy.runtime import stop_words as words

MAX_CHARACTERS = 200
MAX_READ = 2000  # characters searched for a stop word; a longer text is no sentence
SHORT = 3  # other words, without harmless ones, up to which a sentence with a stop word is a stop
SHORT_PART = 12  # characters, in scripts without separated words


class Stop(Enum):
    """Effect of a stop word.

    END: end the instruction, at rest. LATCH: also no motion until ~/reset.
    """

    END = "end"
    LATCH = "latch"


def refuse_instruction(text: str) -> str | None:
    """Why text cannot be an instruction, one sentence; None if it can."""
    if not text:
        return "the instruction is empty"
    if not text.strip():
        return "the instruction is only white space"
    if len(text) > MAX_CHARACTERS:
        return f"the instruction has {len(text)} characters, at most {MAX_CHARACTERS} are allowed"
    if not any(character.isalpha() for character in text):
        return f"the instruction {text.strip()!r} has no word"
    for at, character in enumerate(text):
        # Cc: line breaks, escapes. Cf: invisible marks, which make a text look different.
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            return (
                f"the instruction has the control character U+{ord(character):04X} "
                f"at position {at + 1}"
            )
    return None


def stop_of(text: str) -> Stop | None:
    """The stop that text requests; None if none. Any text, however it is spelled.

    A sentence that begins with a stop word is a stop, and so is a short one that contains one
    anywhere: in doubt the robot stops. A longer sentence that only mentions such a word is left to
    the policy. The empty text, which also ends the instruction, is no stop.
    """
    text = _ESCAPE.sub(" ", text[:MAX_READ])
    if any(sign in text for sign in words.LATCHING_SIGNS):
        return Stop.LATCH
    said = folded(text).split()
    found = _in_words(said) or _in_words(_joined(said)) or _in_parts("".join(said)) or _slip(said)
    if found is None and any(sign in text for sign in words.ENDING_SIGNS):
        return Stop.END
    return found


def folded(text: str) -> str:
    """text in lower case, letters normalised, without accents, invisible marks and punctuation."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    text = re.sub("['\u2019\u02bc`\u00b4]", "", text)
    kept = []
    for character in text:
        kind = unicodedata.category(character)
        if kind in ("Mn", "Cf"):
            continue
        kept.append(character if kind[0] in "LN" or kind == "Mc" else " ")
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


@dataclass(frozen=True, slots=True)
class _Table:
    """Stop words of one kind: anywhere in a short sentence, first, or alone; and phrases."""

    stop: Stop
    anywhere: frozenset[str]
    first: frozenset[str]
    alone: frozenset[str]
    phrases: tuple[tuple[str, ...], ...]


def _table(
    stop: Stop,
    anywhere: Iterable[str],
    first: Iterable[str],
    alone: Iterable[str],
    phrases: Iterable[str],
) -> _Table:
    return _Table(
        stop,
        frozenset(map(folded, anywhere)),
        frozenset(map(folded, first)),
        frozenset(map(folded, alone)),
        tuple(tuple(folded(phrase).split()) for phrase in phrases),
    )


_TABLES = (
    _table(
        Stop.LATCH,
        words.LATCHING,
        words.LATCHING_FIRST,
        words.LATCHING_ALONE,
        words.LATCHING_PHRASES,
    ),
    _table(Stop.END, words.ENDING, words.ENDING_FIRST, words.ENDING_ALONE, words.ENDING_PHRASES),
)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # terminal escape sequences between words
_PARTS = tuple(
    (stop, tuple(folded(part) for part in parts))
    for stop, parts in ((Stop.LATCH, words.LATCHING_PARTS), (Stop.END, words.ENDING_PARTS))
)


def _in_words(said: list[str]) -> Stop | None:
    """A stop word at the beginning, or anywhere in a short sentence."""
    said = [_once(word) for word in said]
    told = [word for word in said if word not in words.HARMLESS]
    for table in _TABLES:
        hits = sum(word in table.anywhere for word in told)
        if hits and (told[0] in table.anywhere or len(told) - hits <= SHORT):
            return table.stop
        if told and (told[0] in table.first or table.alone.issuperset(told)):
            return table.stop
        if any(_begins(said, list(phrase)) for phrase in table.phrases):
            return table.stop
    return None


def _begins(said: list[str], phrase: list[str]) -> bool:
    """Whether phrase comes first, ignoring harmless words, or ends a short sentence."""
    for at in range(len(said) - len(phrase) + 1):
        if said[at : at + len(phrase)] == phrase:
            before = [word for word in said[:at] if word not in words.HARMLESS]
            after = [word for word in said[at + len(phrase) :] if word not in words.HARMLESS]
            if not before or (len(before) <= 1 and not after):
                return True
    return False


def _once(word: str) -> str:
    """The stop word with repeated letters removed (stooop); any other word unchanged."""
    known = [w for table in _TABLES for w in sorted(table.anywhere | table.first)]
    if word in known or not re.search(r"(.)\1", word):
        return word
    return next((w for w in known if len(w) > 2 and _held(word, w)), word)


def _runs(word: str) -> list[tuple[str, int]]:
    return [(m.group(1), len(m.group())) for m in re.finditer(r"(.)\1*", word)]


def _held(word: str, known: str) -> bool:
    """Whether word is known with repeated letters."""
    pairs = list(zip_longest(_runs(word), _runs(known), fillvalue=("", 0)))
    return all(a == b and n >= m for (a, n), (b, m) in pairs)


def _joined(said: list[str]) -> list[str]:
    """Single letters joined to a word: s t o p."""
    return "".join(f"{word}" if len(word) == 1 else f" {word} " for word in said).split()


def _in_parts(text: str) -> Stop | None:
    """A stop word in a short text of a script without spaces."""
    if len(text) > SHORT_PART:
        return None
    return next((s for s, parts in _PARTS if any(part in text for part in parts)), None)


def _slip(said: list[str]) -> Stop | None:
    """A stop for a single word (ignoring harmless ones) with one typing error in a stop word."""
    told = [word for word in said if word not in words.HARMLESS]
    if len(told) != 1 or not 3 <= len(told[0]) <= 12 or told[0] in words.OTHER_WORDS:
        return None
    word = told[0]
    for table in _TABLES:
        if any(len(known) >= 4 and _one_slip(word, known) for known in table.anywhere):
            return table.stop
    return None


def _one_slip(a: str, b: str) -> bool:
    """Whether b is a with one letter inserted, deleted or replaced, or two neighbours swapped."""
    if abs(len(a) - len(b)) > 1:
        return False
    at = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    if a[at + 1 :] == b[at + 1 :] or a[at + 1 :] == b[at:] or a[at:] == b[at + 1 :]:
        return True
    return a[at + 2 :] == b[at + 2 :] and a[at : at + 2] == b[at : at + 2][::-1]
