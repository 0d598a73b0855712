"""The hold-outs are what was settled before training, and the rule of roles still gives them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vla_policy.data.web.concepts import (
    HELD_OUT_LANGUAGES,
    HELD_OUT_STYLE,
    ROLES,
    TRAINED_LANGUAGES,
    TRAINED_STYLES,
    Concept,
    held_out,
    of_role,
    role_of,
    words_of,
)
from vla_policy.sim.scenes.scene import HELD_OUT_PAIRS

FILE = Path(__file__).parents[3] / "benchmarks/meaning_holdouts.json"


def from_file() -> Any:
    return json.loads(FILE.read_text())


def test_the_file_is_the_one_whose_hash_was_written_down() -> None:
    expected = FILE.with_suffix(".json.sha256").read_text().split()[0]
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("role", ROLES)
def test_the_rule_gives_every_listed_thing_its_role(role: str) -> None:
    listed = from_file()[role]
    assert len(listed) >= 30
    assert {role_of(key) for key, _ in listed} == {role}


def test_no_word_of_a_held_out_thing_is_in_the_name_of_a_robot_thing() -> None:
    listed = from_file()
    known = {word for _, name in listed["robot"] for word in words_of(name)}
    for role in ("web", "nowhere"):
        assert not [name for _, name in listed[role] if words_of(name) & known]


def test_styles_languages_and_pairs_of_the_file_are_not_trained() -> None:
    listed = from_file()
    assert listed["style"] == HELD_OUT_STYLE not in TRAINED_STYLES
    assert set(listed["languages"]) == set(HELD_OUT_LANGUAGES)
    assert not set(listed["languages"]) & set(TRAINED_LANGUAGES)
    assert {tuple(pair) for pair in listed["pairs"]} == HELD_OUT_PAIRS


def test_a_thing_that_shares_a_word_with_robot_data_is_not_tested() -> None:
    def concept(name: str, role: str) -> Concept:
        return Concept(name, {"en": name}, "food-fruit", role)

    things = [
        concept("light bulb", "robot"),
        concept("flash light", "web"),
        concept("kiwi", "web"),
    ]
    assert [c.name for c in held_out(things, "web")] == ["kiwi"]
    with pytest.raises(ValueError, match="got 'all', expected one of robot"):
        of_role(things, "all")
