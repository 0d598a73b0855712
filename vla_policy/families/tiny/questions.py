"""Questions, which move nothing: what is recognised as one, and which are answered by looking.

Recognised by their first words; answered are whether a thing is there, and what there is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# First words of a sentence that asks; a polite request begins with others (could, would, can, may).
ASKING = frozenset(
    "is are was were does did what whats which who whom whose where wheres why how "
    "ist sind wer wo warum wieso wie welche welcher welches gibt "
    "hay qué que cuál cual quién quien dónde donde cómo como "
    "qui où pourquoi comment quel quelle quels quelles combien ya "
    "cosa quale chi dove perché что где кто почему как".split()
)
OPENINGS = (("do", "you"), ("can", "you", "see"), ("was", "ist"), ("was", "siehst"), ("y", "a"), ("est", "ce"), ("c", "è"), ("siehst", "du"))  # fmt: skip
POLITE = ("do", "you", "mind")
ASKING_SIGNS = ("什么", "哪", "有没有", "何", "どこ", "どれ", "есть ли")
ASKING_SENTENCE = re.compile(r"(?:桌子上)?有.+吗|.+(?:ますか|ですか)")
IS_THERE = tuple(
    re.compile(form)
    for form in (
        r"(?:is|are) there (?:(?:a|an|the|any|some) )?(.+?)(?: (?:on the table|here|there|to be seen))?",
        r"(?:do|can) you see (?:(?:a|an|the|any|some) )?(.+?)(?: (?:on the table|here|there))?",
        r"is (?:a|an|the) (.+?) (?:on the table|here|there|to be seen)",
        r"(?:gibt es|siehst du|ist da) (?:(?:ein|eine|einen|die|der|das|den) )?(.+?)(?: auf dem tisch)?",
        r"(?:hay|ves) (?:(?:un|una|el|la) )?(.+?)(?: en la mesa)?",
        r"(?:est ce qu ?il y a|y a ?t il|vois tu) (?:(?:un|une|le|la) )?(.+?)(?: sur la table)?",
        r"(?:桌子上)?有(?:没有)?(.+?)吗?",
    )
)
WHAT_IS_THERE = re.compile(
    r"what(?: ?i?s| are)? (?:(?:is|are|things are|do you see|can you see|there|on the table|here)\s?)+"
    r"|was (?:ist|liegt|siehst du)(?: auf dem tisch)?|qué (?:hay|ves)(?: en la mesa)?"
    r"|(?:qu ?est ce qu ?il y a|que vois tu)(?: sur la table)?|桌子上有什么"
)


def is_question(words: Sequence[str]) -> bool:
    """Whether the words of a sentence ask instead of asking for something."""
    if not words or tuple(words[:3]) == POLITE:
        return False
    if words[0] in ASKING or any(tuple(words[: len(o)]) == o for o in OPENINGS):
        return True
    said = "".join(words)
    return any(sign in said for sign in ASKING_SIGNS) or bool(ASKING_SENTENCE.fullmatch(said))


def asked_thing(words: Sequence[str]) -> str | None:
    """The words for the thing of which it is asked whether it is there; None for another question."""
    said = " ".join(words)
    if WHAT_IS_THERE.fullmatch(said):
        return None
    found = (form.fullmatch(said) for form in IS_THERE)
    return next((match[1] for match in found if match), None)


def asks_what_is_there(words: Sequence[str]) -> bool:
    """Whether it is asked what is on the table."""
    return WHAT_IS_THERE.fullmatch(" ".join(words)) is not None
