"""Naming objects: all phrases for exactly one object of a scene, and the inverse.

Left and right are as in the front camera's image: left is smaller y, right is larger y (the camera
faces the robot, so they are the robot's right and left).
Size is the width of an object. Distances are between centres, on the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from vla_policy.sim.scenes.scene import COLOURS, DESTINATIONS, NEW_COLOUR, SHAPES, Scene

SIZE_RATIO = 1.15
DISTANCE_GAP_M = 0.03
SIDE_GAP_M = 0.03
KINDS = ("colour", "shape", "size", "relation")
COLOUR_WORDS = (*COLOURS, NEW_COLOUR)
SHAPE_WORDS = {
    "cube": ("cube", "block"),
    "cylinder": ("cylinder", "can"),
    "ball": ("ball", "sphere"),
}
ANY_WORDS = ("object", "one", "thing")
SMALLEST, LARGEST = ("smallest", "littlest", "tiniest"), ("largest", "biggest", "greatest")
NEAREST, FARTHEST = ("nearest", "closest"), ("farthest", "furthest")

_SHAPE_OF = {word: shape for shape, words in SHAPE_WORDS.items() for word in words}
_SIDES = r"(?:to the )?(left|right)(?: hand)?(?: side)? of"
_DISTANCE = rf"({'|'.join(NEAREST + FARTHEST)})(?: away)?(?: to| from)?"


@dataclass(frozen=True, slots=True)
class Reference:
    """A phrase (without article) and its meaning: target is an index into scene.objects.

    anchor: start of a relation: an object's index, "tray", "pad", or None.
    """

    kind: str
    phrase: str
    target: int
    anchor: int | str | None = None


def positions(scene: Scene) -> np.ndarray:
    """float64[n, 3] centres of the objects at the start of scene."""
    return np.array([[*item.xy, item.half_m] for item in scene.objects])


def all_references(scene: Scene, xyz: np.ndarray | None = None) -> list[Reference]:
    """Every phrase of the robot's kinds that names one object clearly, at xyz float64[n, 3].

    Default of xyz: the start.
    """
    xyz = positions(scene) if xyz is None else np.asarray(xyz, float)
    found = [*_by_name(scene), *_by_size(scene)]
    if "relation" not in scene.twin.kinds:
        return found
    anchors: list[tuple[int | str, str]] = [(name, name) for name in DESTINATIONS]
    for reference in _by_name(scene):
        if reference.kind == "shape" or reference.phrase == scene.objects[reference.target].name:
            anchors.append((reference.target, reference.phrase))
    for anchor, name in anchors:
        for noun in ("object", *SHAPES):
            found += _by_relation(scene, xyz, noun, anchor, name)
    return found


def resolve(phrase: str, scene: Scene, xyz: np.ndarray | None = None) -> Reference:
    """The object named by phrase. Raises ValueError with a sentence if none or several match."""
    xyz = positions(scene) if xyz is None else np.asarray(xyz, float)
    phrase = phrase.strip()
    side = re.fullmatch(rf"(.+?) (?:that is |which is |thats )?{_SIDES} (.+)", phrase)
    if side:
        anchor = _anchor(side.group(3), scene)
        return _resolve_side(scene, xyz, phrase, side.group(1), side.group(2), anchor)
    near = re.fullmatch(rf"(.+?) (?:that is |which is |thats )?{_DISTANCE} (.+)", phrase)
    if near:
        anchor = _anchor(near.group(3), scene)
        return _resolve_distance(scene, xyz, phrase, near.group(1), near.group(2), anchor)
    words = phrase.split()
    superlative = next((w for w in words if w in SMALLEST + LARGEST), None)
    if superlative:
        rest = " ".join(w for w in words if w != superlative) or "object"
        options = _matching(rest, scene)
        target = _extreme(scene, options, largest=superlative in LARGEST)
        if target is None:
            raise ValueError(f"no object is clearly the {phrase}; {describe(scene)}")
        return Reference("size", phrase, target)
    options = _matching(phrase, scene)
    if len(options) > 1:
        names = " and ".join(scene.objects[i].name for i in options)
        raise ValueError(f"'the {phrase}' could be the {names}; say which one")
    kind = "colour" if any(w in COLOUR_WORDS for w in words) else "shape"
    return Reference(kind, phrase, options[0])


def describe(scene: Scene) -> str:
    """One clause that lists the objects on the table."""
    return "there is " + ", ".join(f"a {o.name}" for o in scene.objects) + ", a tray and a pad"


def _by_name(scene: Scene) -> list[Reference]:
    found = []
    for index, item in enumerate(scene.objects):
        for word in SHAPE_WORDS[item.shape]:
            found.append(Reference("colour", f"{item.colour} {word}", index))
        if sum(o.colour == item.colour for o in scene.objects) == 1:
            found += [Reference("colour", f"{item.colour} {word}", index) for word in ANY_WORDS]
        if sum(o.shape == item.shape for o in scene.objects) == 1:
            found += [Reference("shape", word, index) for word in SHAPE_WORDS[item.shape]]
    return found


def _by_size(scene: Scene) -> list[Reference]:
    found = []
    for noun in ("object", "one", *SHAPES):
        options = _matching(noun, scene, required=False)
        if len(options) < 2:
            continue
        for words, largest in ((SMALLEST[:1], False), (LARGEST[:2], True)):
            target = _extreme(scene, options, largest=largest)
            if target is not None:
                found += [Reference("size", f"{word} {noun}", target) for word in words]
    return found


def _by_relation(
    scene: Scene, xyz: np.ndarray, noun: str, anchor: int | str, anchor_name: str
) -> list[Reference]:
    options = [i for i in _matching(noun, scene, required=False) if i != anchor]
    found = []
    if not isinstance(anchor, str):
        for side in ("left", "right"):
            target = _on_side(xyz, options, anchor, side)
            if target is not None:
                for words in (f"{side} of", f"to the {side} of"):
                    phrase = f"{noun} {words} the {anchor_name}"
                    found.append(Reference("relation", phrase, target, anchor))
    if len(options) >= 2:
        for degrees, farthest in ((NEAREST, False), (FARTHEST, True)):
            target = _at_distance(scene, xyz, options, anchor, farthest)
            if target is not None:
                joint = "from" if farthest else "to"
                for word in degrees:
                    phrase = f"{noun} {word} {joint} the {anchor_name}"
                    found.append(Reference("relation", phrase, target, anchor))
    return found


def _matching(words: str, scene: Scene, *, required: bool = True) -> list[int]:
    """Indices of the objects that match "[colour] noun".

    Raises ValueError if required and none do.
    """
    parts = words.split()
    for word in parts:
        if (
            word not in COLOUR_WORDS
            and word not in _SHAPE_OF
            and word.rstrip("s") not in ANY_WORDS
        ):
            raise ValueError(f"unknown word '{word}' in 'the {words}'; {describe(scene)}")
    colour = next((w for w in parts if w in COLOUR_WORDS), None)
    shape = next((_SHAPE_OF[w] for w in parts if w in _SHAPE_OF), None)
    fits = [
        i
        for i, o in enumerate(scene.objects)
        if (colour is None or o.colour == colour) and (shape is None or o.shape == shape)
    ]
    if required and not fits:
        raise ValueError(f"there is no {words} here; {describe(scene)}")
    return fits


def _anchor(words: str, scene: Scene) -> int | str:
    words = re.sub(r"^(the|a|an) ", "", words.strip())
    return words if words in DESTINATIONS else resolve(words, scene).target


def _extreme(scene: Scene, options: list[int], *, largest: bool) -> int | None:
    order = sorted(options, key=lambda i: scene.objects[i].half_m, reverse=largest)
    if len(order) < 2:
        return order[0] if order else None
    first, second = (scene.objects[i].half_m for i in order[:2])
    return order[0] if max(first, second) >= SIZE_RATIO * min(first, second) else None


def _on_side(xyz: np.ndarray, options: list[int], anchor: int, side: str) -> int | None:
    """The only option clearly on that side of the anchor, with no other there or nearly there."""
    offset = xyz[options, 1] - xyz[anchor, 1] if options else np.empty(0)
    if side == "left":
        offset = -offset
    inside = [i for i, value in zip(options, offset, strict=True) if value >= SIDE_GAP_M]
    unclear = (np.abs(offset) < SIDE_GAP_M).any()
    return inside[0] if len(inside) == 1 and not unclear else None


def _at_distance(
    scene: Scene, xyz: np.ndarray, options: list[int], anchor: int | str, farthest: bool
) -> int | None:
    here = scene.destination_xyz(anchor) if isinstance(anchor, str) else xyz[anchor]
    distance = np.linalg.norm(xyz[options, :2] - here[:2], axis=1) * (-1 if farthest else 1)
    order = np.argsort(distance)
    if len(order) > 1 and distance[order[1]] - distance[order[0]] < DISTANCE_GAP_M:
        return None
    return options[int(order[0])]


def _resolve_side(
    scene: Scene, xyz: np.ndarray, phrase: str, noun: str, side: str, anchor: int | str
) -> Reference:
    if isinstance(anchor, str):
        xyz = np.vstack([xyz, scene.destination_xyz(anchor)])
    options = [i for i in _matching(noun, scene) if i != anchor]
    index = len(xyz) - 1 if isinstance(anchor, str) else anchor
    target = _on_side(xyz, options, index, side)
    if target is None:
        raise ValueError(f"no single object is clearly the {phrase}; {describe(scene)}")
    return Reference("relation", phrase, target, anchor)


def _resolve_distance(
    scene: Scene, xyz: np.ndarray, phrase: str, noun: str, word: str, anchor: int | str
) -> Reference:
    options = [i for i in _matching(noun, scene) if i != anchor]
    target = _at_distance(scene, xyz, options, anchor, word in FARTHEST) if options else None
    if target is None:
        raise ValueError(f"no object is clearly the {phrase}; {describe(scene)}")
    return Reference("relation", phrase, target, anchor)
