"""Objects with names in many languages, and which data may show them: the hold-outs.

Names and categories are those of emojibase-data (MIT). An object's role follows from the sha256
of its code point, so it was fixed before any training, and no later choice can change it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TRAINED_LANGUAGES = ("en", "de", "es", "fr", "zh")
HELD_OUT_LANGUAGES = ("it", "ja", "ru")
TRAINED_STYLES = ("noto", "twitter")
HELD_OUT_STYLE = "fluent"
ROLES = ("robot", "web", "nowhere")
# Subgroups of objects that could be on a table, at least as a picture.
_GROUPS = {"animals-nature", "food-drink", "travel-places", "activities", "objects"}
_LEFT_OUT = frozenset(
    "place-map place-geographic place-building place-religious place-other hotel time sky-weather "
    "event sound".split()
)


@dataclass(frozen=True, slots=True)
class Concept:
    """A kind of object. key: its code point in hexadecimal. names: by language. tags: English words that go with it.

    role: "robot": in robot scenes and in web data; "web": in web data only; "nowhere": in no training data.
    """

    key: str
    names: Mapping[str, str]
    category: str
    role: str
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.names["en"]


def role_of(key: str) -> str:
    """The role of an object by code point: 6 of 100 "robot", 12 "nowhere", the rest "web"."""
    part = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % 100
    return "robot" if part < 6 else "nowhere" if part < 18 else "web"


def read_concepts(folder: Path) -> list[Concept]:
    """The objects of an unpacked emojibase-data package. Raises ValueError if there are none."""
    groups = json.loads((folder / "meta/groups.json").read_text())
    languages = (*TRAINED_LANGUAGES, *HELD_OUT_LANGUAGES)
    labels = {language: _labels(folder / language / "data.json") for language in languages}
    found = []
    for entry in json.loads((folder / "en/data.json").read_text()):
        group = groups["groups"].get(str(entry.get("group")))
        category = groups["subgroups"].get(str(entry.get("subgroup")))
        if group not in _GROUPS or category in _LEFT_OUT or "200D" in entry["hexcode"]:
            continue
        key = entry["hexcode"].removesuffix("-FE0F")
        names = {one: labels[one][entry["hexcode"]] for one in languages}
        tags = tuple(str(tag).casefold() for tag in entry.get("tags", ()))
        found.append(Concept(key, names, category, role_of(key), tags))
    if not found:
        raise ValueError(f"{folder}: got no named things, expected those of emojibase-data")
    return found


def of_role(concepts: Iterable[Concept], role: str) -> list[Concept]:
    """Those of concepts with this role. Raises ValueError for an unknown one."""
    if role not in ROLES:
        raise ValueError(f"role: got {role!r}, expected one of {', '.join(ROLES)}")
    return [concept for concept in concepts if concept.role == role]


def held_out(concepts: Iterable[Concept], role: str) -> list[Concept]:
    """Those of a role whose name shares no word with names in robot data: new in both."""
    concepts = list(concepts)
    known = {word for one in of_role(concepts, "robot") for word in words_of(one.name)}
    return [one for one in of_role(concepts, role) if not known & words_of(one.name)]


def words_of(name: str) -> set[str]:
    """The words of a name, lower case."""
    return set(re.findall(r"\w+", name.casefold()))


def _labels(path: Path) -> dict[str, str]:
    return {entry["hexcode"]: entry["label"].casefold() for entry in json.loads(path.read_text())}
