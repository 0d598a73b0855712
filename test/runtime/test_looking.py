"""Several looks decide: only pictures in a row that agree let an instruction be followed."""

from functools import reduce

import pytest

from vla_policy.runtime.looking import LOOKS, MOST_LOOKS, Looking, is_new, looked
from vla_policy.types import Reason

MISSING = Reason("not_seen", "no red ball is to be seen")


def after(answers: str) -> Looking:
    """Looks one after another: s sees all, m misses something."""
    return reduce(
        lambda now, at: looked(now, MISSING if answers[at] == "m" else None, at),
        range(len(answers)),
        Looking(),
    )


@pytest.mark.parametrize(
    ("answers", "followed", "refused"),
    [
        ("", False, False),
        ("s" * (LOOKS - 1), False, False),
        ("s" * LOOKS, True, False),
        ("m" * (LOOKS - 1), False, False),
        ("m" * LOOKS, False, True),
        ("ssm", False, False),
        ("ssmss", False, False),
        ("ssmsss", True, False),
        ("mmsmmm", False, True),
        ("msmsms", False, True),
    ],
)
def test_pictures_in_a_row_must_agree(answers, followed, refused):
    looking = after(answers)
    assert looking.followed == followed
    assert (looking.refusal is not None) == refused


def test_whatever_the_answers_it_ends_and_never_both_ways():
    for number in range(2**MOST_LOOKS):
        answers = f"{number:0{MOST_LOOKS}b}".translate({48: "s", 49: "m"})
        ends = [after(answers[: n + 1]) for n in range(MOST_LOOKS)]
        assert any(looking.followed or looking.refusal for looking in ends)
        assert not any(looking.followed and looking.refusal for looking in ends)
        for looking, n in zip(ends, range(1, MOST_LOOKS + 1), strict=True):
            if looking.followed:
                assert answers[:n].endswith("s" * LOOKS)


def test_what_some_pictures_miss_is_told_as_such():
    assert after("mmm").refusal == MISSING
    assert after("msmsms").refusal.detail == f"{MISSING.detail} in some of {MOST_LOOKS} images"


def test_each_look_is_at_another_picture_also_when_the_clock_went_back():
    assert is_new(Looking(), 0)
    looking = looked(Looking(), None, 500)
    assert not is_new(looking, 500)
    assert is_new(looking, 600) and is_new(looking, 100)
