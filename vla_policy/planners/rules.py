"""Rules over what the policy sees, the planner of policies that point. They know a few kinds of long tasks; all else is followed as it is.

"clear the table", "put all the balls in the tray", "sort the things by colour", "swap the cube and the ball",
"pick up the red cube, then put the ball on the pad".
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vla_policy.planners.table import (
    COLOUR_WORDS,
    INTO,
    PAD,
    SHAPE_WORDS,
    TABLE,
    TRAY,
    SeenThing,
    lines,
    look,
    pick,
    place_of,
    put,
)
from vla_policy.runtime.instruction import folded
from vla_policy.runtime.long_task import name_of
from vla_policy.runtime.planning import Answered, PlanAnswer, PlanRequest
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Observation

_LEFT_OUT = frozenset(
    "please kindly now just robot the a an of can could you would will for me".split()
)
_ANY = frozenset(
    "everything all every each thing things object objects item items one ones".split()
)
_CLEARED = _ANY | frozenset("up off away table desk it".split())
_SHAPES = SHAPE_WORDS | {f"{word}s": shape for word, shape in SHAPE_WORDS.items()}
_GATHER = re.compile(
    r"(?:put|place|move|bring|drop|gather|collect) (.+) (?:in|into|inside|to|on|onto) (tray|pad)"
)
_SORT = re.compile(r"(?:sort|order|separate|group)\b.* by (colou?r|shape)s?")
_SWAP = re.compile(r"(?:swap|exchange|switch) (.+?) (?:and|with|for) (.+)")
_THEN = re.compile(r"\s*[,;.]?\s+(?:and\s+)?then\s+", re.I)


@dataclass(frozen=True, slots=True)
class Goal:
    """kind: clear, gather, sort, swap or then. words: what it is about."""

    kind: str
    words: tuple[str, ...] = ()


def next_step(
    request: PlanRequest, policy: PolicyProtocol, observation: Observation
) -> PlanAnswer:
    """The next sub-task of request. Raises ValueError if the policy cannot tell what is there."""
    goal = read_goal(request.instruction)
    if goal is None:
        return PlanAnswer(Answered.DIRECT)
    if goal.kind == "then":
        return _in_turn(request, goal.words)
    table = look(policy, observation, request.seen)
    names = list(
        dict.fromkeys([*(name_of(told) for told in request.seen), *(t.name for t in table)])
    )
    if not names:
        return PlanAnswer(
            Answered.CANNOT, "nothing that this policy knows is to be seen on the table"
        )
    answer = _OF_KIND[goal.kind](goal, request, table, names)
    return PlanAnswer(answer.kind, answer.text, lines(table))


def read_goal(instruction: str) -> Goal | None:
    """The long task that an instruction names; None if it names none of those above."""
    parts = [part.strip(" ,.;") for part in _THEN.split(instruction)]
    if len(parts) > 1 and all(parts) and not any("it" in folded(p).split() for p in parts):
        return Goal("then", tuple(parts))
    words = [word for word in folded(instruction).split() if word not in _LEFT_OUT]
    text = " ".join(words)
    if words and words[0] in ("clear", "clean", "tidy") and set(words[1:]) <= _CLEARED:
        return Goal("clear")
    if (match := _GATHER.fullmatch(text)) and _ANY & set(match[1].split()[:1]):
        rest = tuple(word for word in match[1].split() if word not in _ANY)
        if all(word in _SHAPES or word in COLOUR_WORDS for word in rest):
            return Goal("gather", (match[2], *rest))
    if match := _SORT.fullmatch(text):
        return Goal("sort", ("shape" if match[1] == "shape" else "colour",))
    if match := _SWAP.fullmatch(text):
        return Goal("swap", (match[1], match[2]))
    return None


def _in_turn(request: PlanRequest, parts: Sequence[str]) -> PlanAnswer:
    """Each part once it is the first that the policy has not reported complete."""
    left = list(parts)
    for past in request.done:
        if left and past.outcome == "DONE" and folded(past.subtask) == folded(left[0]):
            left.pop(0)
    if not left:
        return PlanAnswer(Answered.FINISHED, "every part was reported complete in turn")
    if left[0] in request.given_up:
        return PlanAnswer(Answered.CANNOT, f"{left[0]!r} did not succeed")
    return PlanAnswer(Answered.NEXT, left[0])


def _clear(
    goal: Goal, request: PlanRequest, table: Sequence[SeenThing], names: Sequence[str]
) -> PlanAnswer:
    """Each thing into the tray; what would not go there, onto the pad."""
    tries = Counter(past.subtask for past in request.done)
    wanted = {n: PAD if tries[put(n, TRAY)] > tries[put(n, PAD)] else TRAY for n in names}
    wanted |= {thing.name: thing.place for thing in table if thing.place != TABLE}
    return _towards(wanted, request, table, "nothing that is known is on the table any more")


def _gather(
    goal: Goal, request: PlanRequest, table: Sequence[SeenThing], names: Sequence[str]
) -> PlanAnswer:
    place, *rest = goal.words
    meant = [name for name in names if _fits(name, rest)]
    if not meant:
        return PlanAnswer(Answered.CANNOT, f"no {' '.join(rest)} is to be seen on the table")
    wanted = dict.fromkeys(meant, place)
    return _towards(
        wanted, request, table, f"{_listed(meant)} {'is' if len(meant) == 1 else 'are'} there"
    )


def _sort(
    goal: Goal, request: PlanRequest, table: Sequence[SeenThing], names: Sequence[str]
) -> PlanAnswer:
    """The most frequent group into the tray, the next onto the pad; a third stays on the table."""
    part = 0 if goal.words[0] == "colour" else 1
    first = [name_of(told) for told in request.seen] or list(names)
    counts = Counter(name.split()[part] for name in first)
    groups = [group for group, _ in counts.most_common()]
    places = dict(zip(groups, (TRAY, PAD), strict=False))
    if len(groups) > 3:
        return PlanAnswer(Answered.CANNOT, f"there are {len(groups)} groups and three places")
    wanted = {n: places[n.split()[part]] for n in names if n.split()[part] in places}
    told = ", ".join(
        f"{group} {'in' if place == TRAY else 'on'} the {place}" for group, place in places.items()
    )
    return _towards(wanted, request, table, told)


def _swap(
    goal: Goal, request: PlanRequest, table: Sequence[SeenThing], names: Sequence[str]
) -> PlanAnswer:
    """Only what lies in the tray and on the pad: the policy can put things nowhere else."""
    at_first = {name_of(told): place_of(told) for told in request.seen or lines(table)}
    both = []
    for words in goal.words:
        meant = [name for name in at_first if _fits(name, words.split())]
        if len(meant) != 1:
            what = "no" if not meant else "more than one"
            return PlanAnswer(Answered.CANNOT, f"{what} {words} is to be seen on the table")
        both += meant
    one, other = both
    if {at_first[one], at_first[other]} != {TRAY, PAD}:
        return PlanAnswer(
            Answered.CANNOT,
            "things are put in the tray or on the pad alone, so one of the two must lie in each",
        )
    wanted = {one: at_first[other], other: at_first[one]}
    # The tray has room for both, so what goes there goes first.
    ordered = dict(sorted(wanted.items(), key=lambda pair: pair[1] != TRAY))
    told = f"the {one} and the {other} have changed places"
    return _towards(ordered, request, table, told, in_order=True)


_OF_KIND = {"clear": _clear, "gather": _gather, "sort": _sort, "swap": _swap}


def _towards(
    wanted: Mapping[str, str],
    request: PlanRequest,
    table: Sequence[SeenThing],
    told: str,
    *,
    in_order: bool = False,
) -> PlanAnswer:
    """The next thing that is not yet where it is wanted: the least tried first, of those the nearest to the arm's base.

    The arm that stands over tray or pad hides what is behind it, so what is near goes first. A thing
    that is hidden counts as where it is wanted if the last sub-task about it was reported complete.
    Else the thing that hides it, as far as that can be told, is moved to the other place, so that the arm stands elsewhere.
    in_order: the first wanted first.
    """
    if (held := _picked_up(wanted, request)) is not None:
        return PlanAnswer(Answered.NEXT, put(held, wanted[held]))
    here = {thing.name: thing for thing in table}
    tries = Counter(past.subtask for past in request.done if past.outcome != "REFUSED")
    first = {name_of(line): place_of(line) for line in request.seen}
    reported = {n for n in wanted if _last(request, n) == "DONE" or first.get(n) == wanted[n]}
    left = [
        name
        for name, place in wanted.items()
        if (here[name].place != place if name in here else name not in reported)
    ]
    open_ = [name for name in left if put(name, wanted[name]) not in request.given_up]
    if open_:

        def turn(name: str) -> tuple[float, ...]:
            away_m = float(np.linalg.norm(here[name].xy)) if name in here else math.inf
            return (tries[put(name, wanted[name])], 0.0 if in_order else away_m)

        chosen = min(open_, key=turn)
        if chosen not in here and (aside := _aside(request, table)) is not None:
            return PlanAnswer(Answered.NEXT, aside)
        subtask = put(chosen, wanted[chosen])
        # Once more from the same place would often end the same way: first into the hand, then from there.
        again = tries[subtask] > tries[pick(chosen)]
        return PlanAnswer(Answered.NEXT, pick(chosen) if again else subtask)
    if left:
        return PlanAnswer(Answered.CANNOT, f"{_listed(left)} did not get where it was to be put")
    return PlanAnswer(Answered.FINISHED, told)


def _aside(request: PlanRequest, table: Sequence[SeenThing]) -> str | None:
    """A sub-task after which the arm stands over the other place than now; None if there is none, or it was begun before."""
    put_down = [past.subtask for past in request.done if past.subtask.startswith("put the ")]
    stands = next((p for p in INTO if put_down and put_down[-1].endswith(INTO[p])), None)
    if stands is None:
        return None
    other = PAD if stands == TRAY else TRAY
    ways = [put(thing.name, other) for thing in table if thing.place == stands]
    return next((way for way in ways if way not in put_down and way not in request.given_up), None)


def _picked_up(wanted: Mapping[str, str], request: PlanRequest) -> str | None:
    """What the last sub-task picked up, as it was reported."""
    if not request.done or request.done[-1].outcome != "DONE":
        return None
    return next((name for name in wanted if pick(name) == request.done[-1].subtask), None)


def _last(request: PlanRequest, name: str) -> str:
    """How the last sub-task about a thing ended; empty without one."""
    about = [past.outcome for past in request.done if past.subtask.startswith(f"put the {name} ")]
    return about[-1] if about else ""


def _fits(name: str, words: Sequence[str]) -> bool:
    """Whether a name, colour and shape, is meant by words such as "cubes", "red" or "red ball"."""
    colour, shape = name.split()
    colours = [w for w in words if w in COLOUR_WORDS]
    shapes = [_SHAPES[w] for w in words if w in _SHAPES]
    strange = len(colours) + len(shapes) < len([w for w in words if w not in _ANY])
    return not strange and all(c == colour for c in colours) and all(s == shape for s in shapes)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"the {name}" for name in names)
