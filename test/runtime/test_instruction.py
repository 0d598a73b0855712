"""What can be given to a policy, and what is refused with a sentence."""

import pytest

from vla_policy.runtime.instruction import MAX_CHARACTERS, refuse_instruction


@pytest.mark.parametrize(
    "text",
    ["pick up the red cube", "lege den grünen Würfel in die Schale", "x" * MAX_CHARACTERS, "赤い"],
)
def test_plain_words_are_accepted(text):
    assert refuse_instruction(text) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (" \t ", "white space"),
        ("\n", "white space"),
        ("x" * (MAX_CHARACTERS + 1), "201 characters"),
        ("12345 !!!", "has no word"),
        ("\U0001f600\U0001f44d", "has no word"),
        ("pick\nup", "U+000A at position 5"),
        ("pick \x1b[2Jup", "U+001B"),
        ("pick\x00", "U+0000"),
        ("pick \u202eup", "U+202E"),
        ("pick\u200bup", "U+200B"),
    ],
)
def test_anything_else_is_refused(text, word):
    assert word in refuse_instruction(text)
