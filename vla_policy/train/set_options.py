"""How a data set is read for training: its robot, its columns, and the frames that count.

Sets recorded by this package need no options. For a set of another project the run file states
what the set does not record: its robot, its columns in the robot's terms and units, and the kind
of its actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vla_policy.data.frame import CONTROL_SOURCES
from vla_policy.parsing import fields
from vla_policy.parsing.fields import Place
from vla_policy.train.learned_action import END, GRIPS, LEARNED, SENT

PARTS = ("all", "train", "held_out")
KEYS = (
    "robot", "cameras", "state", "action", "spaces", "episodes", "part", "held_out", "failures", "weights",
    "correction_weight", "phrasings", "instruction", "learn", "grips", "trim_still",
)  # fmt: skip
MOST = 1_000_000.0


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """A robot's column in another project's set: robot value = scale * its value + offset."""

    name: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class SetOptions:
    """robot: name or file, if the set names none.

    cameras: camera of the robot -> of the set. state, action: column of the robot -> Column of
    the set; unlisted columns have the same name in both. spaces: action group -> meaning of its
    columns in another project's set: as the robot executes them (joint_position, ee_pose), or as
    the robot's policies write them (joint_delta, ee_delta).
    episodes: which to use; None: all. part, held_out: share of episodes kept for evaluation, and
    which side this is. failures: use episodes that did not succeed, too.
    weights: source of control -> weight of its frames, 0: not learned. correction_weight: factor
    for frames in which a person corrects the policy. phrasings: task -> rephrasings of it.
    instruction: for a set without tasks. learn: which action of a set of this package, what was
    sent after the guard, or what was proposed before it. grips: which command of a gripper a frame
    teaches, that in force at its end or at its start. trim_still: leave out the frames at the
    start of an episode in which nothing happens yet.
    Raises ValueError that begins with the field's name.
    """

    robot: str | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, ColumnMapping] = field(default_factory=dict)
    action: Mapping[str, ColumnMapping] = field(default_factory=dict)
    spaces: Mapping[str, str] = field(default_factory=dict)
    episodes: tuple[int, ...] | None = None
    part: str = "all"
    held_out: float = 0.0
    failures: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    correction_weight: float = 2.0
    phrasings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    instruction: str | None = None
    learn: str = SENT
    grips: str = END
    trim_still: bool = True

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"part: got {self.part!r}, expected one of {', '.join(PARTS)}")
        if self.grips not in GRIPS:
            raise ValueError(f"grips: got {self.grips!r}, expected {' or '.join(GRIPS)}")
        if self.learn not in LEARNED:
            raise ValueError(f"learn: got {self.learn!r}, expected {' or '.join(LEARNED)}")
        if not 0.0 <= self.held_out < 1.0:
            raise ValueError(f"held_out: got {self.held_out}, expected 0 to below 1")
        if self.part != "all" and not self.held_out:
            raise ValueError(f"part: got {self.part!r} with held_out 0, expected a share above 0")
        for name, weight in self.weights.items():
            if name not in CONTROL_SOURCES or not 0.0 <= weight <= MOST:
                known = ", ".join(filter(None, CONTROL_SOURCES))
                raise ValueError(
                    f"weights: got {name!r}: {weight}, expected {known} with 0 or more"
                )
        if not 0.0 <= self.correction_weight <= MOST:
            raise ValueError(
                f"correction_weight: got {self.correction_weight}, expected 0 or more"
            )


DEFAULTS = SetOptions()


def weight_of(control_source: str, options: SetOptions = DEFAULTS, *, correction: bool) -> float:
    """Weight of a frame; 0 for frames in which nothing commands the robot."""
    if not control_source:
        return 0.0
    weight = options.weights.get(control_source, 1.0)
    return weight * (options.correction_weight if correction else 1.0)


def read_options(value: Any, place: Place) -> SetOptions:
    """The options of one entry of a run file. Raises Refused with file, line, got and expected."""
    given = fields.mapping(value, place, (), KEYS)
    known: dict[str, Any] = {}
    for key, item in given.items():
        at = place.at(key)
        if key in ("robot", "instruction"):
            known[key] = fields.text(item, at, "words")
        elif key == "part":
            known[key] = fields.choice(item, at, PARTS)
        elif key in ("learn", "grips"):
            known[key] = fields.choice(item, at, LEARNED if key == "learn" else GRIPS)
        elif key == "held_out":
            known[key] = fields.number(item, at, 0.0, 0.99)
        elif key == "correction_weight":
            known[key] = fields.number(item, at, 0.0, MOST)
        elif key in ("failures", "trim_still"):
            known[key] = _bool(item, at)
        elif key == "episodes":
            known[key] = _episodes(item, at)
        else:
            known[key] = _entries(key, item, at)
    try:
        return SetOptions(**known)
    except ValueError as error:
        raise place.refuse(str(error), "options that go together") from error


def _bool(value: Any, place: Place) -> bool:
    if not isinstance(value, bool):
        raise place.refuse(value, "true or false")
    return value


def _episodes(value: Any, place: Place) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise place.refuse(value, "a list of episode numbers, at least one")
    for number in value:
        if type(number) is not int or number < 0:
            raise place.refuse(number, "the number of an episode, from 0")
    return tuple(sorted(set(value)))


def _entries(key: str, value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise place.refuse(value, "a mapping with at least one entry")
    found: dict[str, Any] = {}
    for name, item in value.items():
        at = place.at(str(name))
        if key == "weights":
            found[str(name)] = fields.number(item, at, 0.0, MOST)
        elif key in ("state", "action"):
            found[str(name)] = _column(item, at)
        elif key == "phrasings":
            if not isinstance(item, list) or not all(isinstance(w, str) and w for w in item):
                raise at.refuse(item, "a list of sentences")
            found[str(name)] = tuple(item)
        else:
            found[str(name)] = fields.text(item, at, "a name")
    return found


def _column(value: Any, place: Place) -> ColumnMapping:
    """'name', or {name: ..., scale: ..., offset: ...}."""
    if isinstance(value, str):
        return ColumnMapping(fields.text(value, place, "the name of a column of the set"))
    given = fields.mapping(value, place, ("name",), ("scale", "offset"))
    scale = fields.number(given.get("scale", 1.0), place.at("scale"), -MOST, MOST)
    if scale == 0.0:
        raise place.at("scale").refuse(0.0, "a number other than 0")
    offset = fields.number(given.get("offset", 0.0), place.at("offset"), -MOST, MOST)
    return ColumnMapping(
        fields.text(given["name"], place.at("name"), "a column of the set"), scale, offset
    )
