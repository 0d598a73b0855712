"""What is on the table, from the policy's own answers: which names it sees, and where it points.

Works with every policy that points and that refuses what it does not see; nothing else is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from vla_policy.runtime.long_task import name_of
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Array, Observation

COLOUR_WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "white")
# Words for a shape, and the one by which it is asked for.
SHAPE_WORDS = {
    "cube": "cube",
    "block": "cube",
    "cylinder": "cylinder",
    "can": "cylinder",
    "ball": "ball",
    "sphere": "ball",
}
NAMES = tuple(
    " ".join(pair) for pair in product(COLOUR_WORDS, dict.fromkeys(SHAPE_WORDS.values()))
)
TABLE, TRAY, PAD = "table", "tray", "pad"
INTO = {TRAY: "in the tray", PAD: "on the pad"}
# Half a side of the tray and the radius of the pad, with what pointing is off by; m. Nothing is put down nearer beside them.
NEAR_M = {TRAY: 0.072, PAD: 0.066}
SAME_M = 0.018  # two names that are pointed at so near each other are of one thing


@dataclass(frozen=True, slots=True)
class SeenThing:
    """xy: float64[2], base frame, m. place: TABLE, TRAY or PAD."""

    name: str
    xy: Array
    place: str


def put(name: str, place: str) -> str:
    """The sub-task that brings a thing to tray or pad."""
    return f"put the {name} {INTO[place]}"


def pick(name: str) -> str:
    """The sub-task that takes a thing into the hand."""
    return f"pick up the {name}"


def line(name: str, place: str) -> str:
    """One line about the table; name_of and place_of read it."""
    return f"{name}: {place}"


def place_of(told: str) -> str:
    """The place in a line about the table."""
    return told.partition(":")[2].strip()


def look(
    policy: PolicyProtocol, observation: Observation, known: Sequence[str] = ()
) -> tuple[SeenThing, ...]:
    """The things that the policy sees. known: lines of an earlier look, whose names count first.

    Raises ValueError if this policy cannot tell what is there.
    """
    if not policy.can_point:
        raise ValueError("this policy does not point, so it cannot tell where things are")
    first = [name_of(told) for told in known]
    names = [n for n in dict.fromkeys((*first, *NAMES)) if policy.understands(pick(n)) is None]
    seen = [n for n in names if policy.sees(replace(observation, instruction=pick(n))) is None]
    if len(seen) > len(names) / 2 and len(names) > len(COLOUR_WORDS):
        raise ValueError("this policy cannot tell what it does not see")
    pointed = [(n, {place: _point(policy, observation, n, place) for place in INTO}) for n in seen]
    if not pointed:
        return ()
    # Where tray and pad are does not depend on the thing, so the middle of the answers is taken.
    where = {p: np.median([both[p][1] for _, both in pointed], axis=0) for p in INTO}
    found: list[SeenThing] = []
    for name, both in pointed:
        xy = (both[TRAY][0] + both[PAD][0]) / 2
        if all(np.linalg.norm(xy - other.xy) > SAME_M for other in found):
            found.append(SeenThing(name, xy, _place(xy, where)))
    return tuple(found)


def lines(seen: Sequence[SeenThing]) -> tuple[str, ...]:
    """A look as lines of text."""
    return tuple(line(thing.name, thing.place) for thing in seen)


def _point(
    policy: PolicyProtocol, observation: Observation, name: str, place: str
) -> tuple[Array, Array]:
    """float64[2] of the thing and of the place."""
    places = policy.point(replace(observation, instruction=put(name, place)))
    if "destination_xyz" not in places:
        raise ValueError("this policy does not point at destinations")
    return np.asarray(places["target_xyz"])[:2], np.asarray(places["destination_xyz"])[:2]


def _place(xy: Array, where: dict[str, Array]) -> str:
    if np.abs(xy - where[TRAY]).max() <= NEAR_M[TRAY]:
        return TRAY
    return PAD if np.linalg.norm(xy - where[PAD]) <= NEAR_M[PAD] else TABLE
