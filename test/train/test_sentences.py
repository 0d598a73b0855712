"""What a policy reads after it was taught: sentences word for word, and forms that were said of several things."""

from vla_policy.families.language import Language, Understood
from vla_policy.policy import load_local
from vla_policy.train.sentences import with_sentences


def language() -> Language:
    found = load_local("tiny", engine="off").checkpoint.language
    assert isinstance(found, Language)
    return found


def test_what_was_said_of_two_things_is_said_of_any() -> None:
    more = with_sentences(
        language(), ["touch the red cube", "touch the ball", "pick up the red cube"]
    )
    read = more.read("please touch the green cylinder")
    assert isinstance(read, Understood)
    assert read.said == "touch the green cylinder"
    assert read.things == ({"colour": "green", "shape": "cylinder"},)
    assert len(more.forms) == len(language().forms) + 1


def test_what_was_said_of_one_thing_is_read_word_for_word() -> None:
    more = with_sentences(language(), ["touch the red cube", "go home"])
    assert isinstance(more.read("touch the red cube"), Understood)
    assert isinstance(more.read("go home"), Understood)
    assert not isinstance(more.read("touch the ball"), Understood)
