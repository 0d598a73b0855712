"""Tasks as sentences: drawing one for a scene, and understanding a typed one.

Families: pick ("pick up X"), put ("put X in the tray", "put X on the pad") and push ("push X to
the pad": moved along the table, never lifted). touch ("touch X" from above, the fingers closed) is never drawn but where it is
asked for: a task to teach a policy that does not know it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vla_policy.sim.scenes.scene import DESTINATIONS, TRAY_HALF_M, Scene
from vla_policy.sim.tasks.references import (
    KINDS,
    Reference,
    all_references,
    positions,
)

FAMILIES = ("pick", "put", "push", "touch")
DRAWN = {"pick": 0.35, "put": 0.45, "push": 0.20}  # where no family is asked for
KIND_WEIGHTS = {"colour": 0.45, "shape": 0.15, "size": 0.20, "relation": 0.20}

# {x} the object, {d} the destination, {in} a preposition that suits the destination.
TEMPLATES = {
    "pick": (
        "pick up {x}",
        "pick {x} up",
        "lift {x}",
        "lift up {x}",
        "grab {x}",
        "take {x}",
        "grasp {x}",
        "get {x}",
        "please pick up {x}",
        "can you pick up {x}",
    ),
    "put": (
        "put {x} {in} {d}",
        "place {x} {in} {d}",
        "drop {x} {in} {d}",
        "set {x} {in} {d}",
        "move {x} {into} {d}",
        "bring {x} to {d}",
        "lay {x} {in} {d}",
        "pick up {x} and put it {in} {d}",
        "take {x} and place it {in} {d}",
        "please put {x} {in} {d}",
    ),
    "push": (
        "push {x} to {d}",
        "push {x} onto {d}",
        "slide {x} to {d}",
        "slide {x} onto {d}",
        "drag {x} to {d}",
        "shove {x} to {d}",
        "push {x} over to {d}",
        "please push {x} to {d}",
        "slide {x} along the table to {d}",
    ),
    "touch": ("touch {x}",),
}
UNSEEN_TEMPLATES = {
    "pick": ("fetch {x}", "raise {x}", "could you grab {x} for me", "hold up {x}", "i want {x}"),
    "put": (
        "carry {x} to {d}",
        "deposit {x} {in} {d}",
        "transfer {x} {into} {d}",
        "grab {x} and drop it {in} {d}",
        "i want {x} {in} {d}",
    ),
    "push": (
        "nudge {x} to {d}",
        "scoot {x} over to {d}",
        "could you push {x} onto {d}",
        "slide {x} across to {d}",
    ),
    "touch": ("tap {x}",),
}
_IN = {"tray": ("in", "into", "inside"), "pad": ("on", "onto", "on top of")}


@dataclass(frozen=True, slots=True)
class Task:
    """A task: target is an index into scene.objects, destination "tray", "pad" or None.

    reference: start of a relation (an index, "tray", "pad") or None.
    kind: how the object is named, one of KINDS.  phrase: its text, without article.
    """

    family: str
    instruction: str
    target: int
    reference: int | str | None
    destination: str | None
    kind: str
    phrase: str = ""

    @property
    def place(self) -> str:
        """destination. Raises ValueError for a task without one."""
        if self.destination is None:
            raise ValueError(f"{self.instruction!r}: a {self.family} task has no destination")
        return self.destination


def sample_task(
    scene: Scene,
    rng: np.random.Generator,
    family: str | None = None,
    reference: str | None = None,
    *,
    paraphrases: str = "seen",
    xyz: np.ndarray | None = None,
    target: int | None = None,
    feasible: bool = True,
) -> Task:
    """Draw a task that is unambiguous in scene.

    reference: one of KINDS, or None for a mix.  xyz: float64[n, 3] current object positions.
    target: only tasks about this object.  paraphrases: "seen" (training) or "unseen".
    feasible: a push only if the straight path to the pad is free.
    Raises ValueError for unknown names, or if the scene has no task of that kind.
    """
    free = list(range(len(scene.objects)))
    if "push" not in scene.twin.families:
        free = []
    elif feasible:
        free = [i for i in free if free_way(scene, i, xyz)]
    pushable = free if target is None else [i for i in free if i == target]
    if family is None:
        family = str(rng.choice(list(DRAWN), p=list(DRAWN.values())))
        family = "put" if family == "push" and not pushable else family
    if family not in FAMILIES:
        raise ValueError(f"family: got {family!r}, expected one of {', '.join(FAMILIES)}")
    options = [r for r in all_references(scene, xyz) if target is None or r.target == target]
    if family == "push":
        options = [r for r in options if r.target in pushable]
    kinds = [k for k in KINDS if any(r.kind == k for r in options)]
    if reference is None:
        weights = np.array([KIND_WEIGHTS[k] for k in kinds])
        reference = str(rng.choice(kinds, p=weights / weights.sum())) if kinds else "any"
    if reference not in kinds:
        has = ", ".join(kinds) or "none"
        raise ValueError(f"reference: got {reference!r}, a {family} in this scene has {has}")
    chosen = _draw(rng, [r for r in options if r.kind == reference])
    destination = None
    if family not in ("pick", "touch"):
        destination = "pad" if family == "push" else str(rng.choice(DESTINATIONS))
    return phrase_task(family, chosen, destination, rng, paraphrases=paraphrases)


def free_way(scene: Scene, target: int, xyz: np.ndarray | None = None) -> bool:
    """Whether fingers holding target can slide straight to the pad without touching anything."""
    xyz = positions(scene) if xyz is None else xyz
    half = scene.objects[target].half_m
    reach = np.array([max(half, 0.0105), half + 0.014]) + 0.006
    goal = scene.destination_xyz("pad")[:2]
    way = xyz[target, :2] + np.linspace(0, 1, 40)[:, None] * (goal - xyz[target, :2])
    things = [(xyz[i, :2], o.half_m) for i, o in enumerate(scene.objects) if i != target]
    things.append((np.array(scene.tray_xy), TRAY_HALF_M + 0.006))
    return not any((np.abs(way - xy) < reach + size).all(1).any() for xy, size in things)


def phrase_task(
    family: str,
    chosen: Reference,
    destination: str | None,
    rng: np.random.Generator,
    *,
    paraphrases: str = "seen",
) -> Task:
    """Express a task as one of its family's sentences."""
    if paraphrases not in ("seen", "unseen"):
        raise ValueError(f"paraphrases: got {paraphrases!r}, expected seen or unseen")
    templates = TEMPLATES if paraphrases == "seen" else UNSEEN_TEMPLATES
    # The first, plainest sentence is the most frequent.
    first = paraphrases == "seen" and rng.random() < 0.25
    template = templates[family][0 if first else rng.integers(len(templates[family]))]
    words = {"x": f"the {chosen.phrase}"}
    if destination is not None:
        options = _IN[destination]
        words |= {"d": f"the {destination}", "in": options[rng.integers(len(options))]}
        words["into"] = options[1]
    sentence = template.format(**words)
    target, anchor = chosen.target, chosen.anchor
    return Task(family, sentence, target, anchor, destination, chosen.kind, chosen.phrase)


def _draw(rng: np.random.Generator, options: list[Reference]) -> Reference:
    """One reference, each object equally likely, plain words likelier than synonyms."""
    targets = sorted({r.target for r in options})
    target = targets[rng.integers(len(targets))]
    mine = [r for r in options if r.target == target]
    plain = [r for r in mine if not re.search(r"\b(block|can|sphere)\b", r.phrase)]
    pool = plain if plain and rng.random() < 0.75 else mine
    return pool[rng.integers(len(pool))]
