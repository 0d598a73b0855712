"""Is a text an instruction that can be given to a policy?"""

from __future__ import annotations

import unicodedata

MAX_CHARACTERS = 200


def refuse_instruction(text: str) -> str | None:
    """Why text cannot be followed, one sentence; None if it can be tried."""
    if not text:
        return "the instruction is empty"
    if not text.strip():
        return "the instruction is only white space"
    if len(text) > MAX_CHARACTERS:
        return f"the instruction has {len(text)} characters, at most {MAX_CHARACTERS} are allowed"
    if not any(character.isalpha() for character in text):
        return f"the instruction {text.strip()!r} has no word"
    for at, character in enumerate(text):
        # Cc: line breaks, escapes. Cf: invisible marks that make a text read unlike what it says.
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            return (
                f"the instruction has the control character U+{ord(character):04X} "
                f"at position {at + 1}"
            )
    return None
