"""Classifies objects in the front image: to refuse absent ones, and to restrict pointing.

The tower reads the text and points; with few pixels it confuses a ball with a cylinder. The
second look (models/naming.py) ignores the text, but classifies colour and shape, on a larger
image if the camera has one. Where it sees the named object, the tower points only there; where it
sees none, as behind the arm, the tower points without it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import Language, Understood
from vla_policy.models.naming import Places
from vla_policy.types import Reason

NEAR = 0.05  # of the image side: patches this close to a location belong to its object
RIVAL = (
    0.5  # a location with this share of the best score may be meant as well, as one of two cubes
)
ELSEWHERE = -30.0  # added to the attention's logits at all other locations


def look_px(checkpoint: Checkpoint) -> int:
    """Side of the second look's image."""
    language = checkpoint.language
    if language is None or language.second_look is None:
        side: int = checkpoint.model.config.pointing.image_px
        return side
    px: int = language.second_look.px
    return px


def places_of(checkpoint: Checkpoint, image: torch.Tensor) -> Places:
    """image: float32[1, 3, h, w] of look_px."""
    places: Places = checkpoint.naming.places(image, checkpoint.model.vision.front.stem(image))
    return places


def meant(checkpoint: Checkpoint, image: torch.Tensor, instruction: str) -> torch.Tensor | None:
    """float32[p], added to the target's attention logits: masks all but the named objects.

    None if no such object is seen, or the folder does not restrict pointing.
    """
    language = checkpoint.language
    if language is None or language.least is None or checkpoint.naming is None:
        return None
    read = language.read(instruction)
    if isinstance(read, Reason) or not read.things:
        return None
    colour, shape = _numbers(language, read.things[0])
    if colour is None and shape is None:
        return None
    places = places_of(checkpoint, image)
    score = places.named(colour, shape)[0]
    least = max(language.least[_kind(language.least, colour)], RIVAL * float(score.max()))
    if not (shown := score >= least).any():
        return None
    patches: torch.Tensor = checkpoint.model.vision.front.uv
    away = torch.cdist(patches, places.uv[0, shown]).amin(1)
    return torch.where(away < NEAR, 0.0, ELSEWHERE)


def not_seen(language: Language, places: Places, read: Understood) -> Reason | None:
    """The named objects that are absent; None if all are present."""
    if language.least is None:
        return None
    shown = [_shown(language, language.least, places, thing) for thing in read.things]
    for thing, here in zip(read.things, shown, strict=True):
        if not here.any():
            return Reason("not_seen", f"no {_words(thing)} is to be seen on the table")
    u = places.uv[0, :, 0]
    for a, side, b in read.sides:
        left = u[:, None] < u if side == "left" else u[:, None] > u
        if not (left & shown[a][:, None] & shown[b]).any():
            beside = f"{_words(read.things[a])} {side} of the {_words(read.things[b])}"
            return Reason("not_seen", f"no {beside} is to be seen on the table")
    return None


def _shown(
    language: Language, least: Mapping[str, float], places: Places, thing: Mapping[str, str]
) -> torch.Tensor:
    """bool[p]: the locations of thing, if its colour is in the image at all."""
    colour, shape = _numbers(language, thing)
    here = places.named(colour, shape)[0] >= least[_kind(least, colour)]
    if colour is None:
        return here
    return here & (places.named(colour, None)[0].amax() >= least["colour"])


def _numbers(language: Language, thing: Mapping[str, str]) -> tuple[int | None, int | None]:
    colour, shape = (language.looks[kind].get(thing.get(kind, "")) for kind in ("colour", "shape"))
    return colour, shape


def _kind(least: Mapping[str, float], colour: int | None) -> str:
    return "thing" if colour is not None or "shape" not in least else "shape"


def _words(thing: Mapping[str, str]) -> str:
    return " ".join(thing[kind] for kind in ("colour", "shape") if kind in thing) or "object"
