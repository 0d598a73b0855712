"""Sentences outside the trained ones, for checkpoints with pre-trained encoders (models/wide.py).

A free sentence becomes a plan: a trained sentence about "the object", which language model and
heads follow as usual, and a location in the front image, at which the pointing tower then points.
Trained sentences do not use this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import NEGATIONS, heard
from vla_policy.models import encoders
from vla_policy.models.pointing import PointedPlaces
from vla_policy.models.wide import INTENTS, SPOT, LookCloser, Wide
from vla_policy.types import Array, Reason

PLANS = {
    "pick": "pick up the object",
    "tray": "put the object in the tray",
    "pad": "put the object on the pad",
}
# In addition to English ones: the encoder hardly separates a sentence from its negation, so these
# words are refused.
OTHER_NEGATIONS = frozenset(
    "nicht kein keine keinen nie ne pas jamais aucun nunca ningún non не нет".split()
)
NEGATING_SIGNS = ("不", "别", "没", "ない", "ません")
HELD = (0.3, 0.82)  # openings between which the gripper has closed on an object
COMMAND = 0.5  # least probability of a command


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of a free sentence.

    plan: a trained sentence. vector: float32[t], of the sentence.
    """

    plan: str
    vector: Tensor


def meaning(checkpoint: Checkpoint, instruction: str) -> Meaning | Reason | None:
    """Meaning of an untrained sentence, or why it is not followed; None without encoders."""
    wide = getattr(checkpoint.model.vision, "wide", None)
    if wide is None:
        return None
    words = heard(instruction)
    negated = [w for w in words if w in NEGATIONS | OTHER_NEGATIONS]
    negated += [sign for sign in NEGATING_SIGNS if sign in instruction]
    if negated:
        return Reason("words", f"{negated[0]!r}: this policy cannot read a negation")
    vector = encoders.sentence_vector(" ".join(instruction.lower().split()).rstrip(" .!"))
    vector = vector.to(checkpoint.device)
    with torch.inference_mode():
        chances = wide.intents(vector).softmax(-1)
    if chances[0] > 1 - COMMAND:
        return Reason("words", "this is no command that this policy knows")
    return Meaning(PLANS[INTENTS[int(chances[1:].argmax()) + 1]], vector)


@dataclass(frozen=True, slots=True)
class FoundThing:
    """uv: float32[1, 1, 2], location of the object in the front image.

    in_hand: the gripper holds it.
    """

    uv: Tensor
    in_hand: bool


def look(checkpoint: Checkpoint, picture: Array, found: Meaning, tool: Tensor) -> FoundThing:
    """The object in uint8[side, side, 3] of the front camera.

    tool: float32[1, 4], position, opening.
    The gripper hides most of the picture of an object that it holds. So a held object counts as
    the named one, unless that is seen elsewhere with a much higher score. Else, of places with
    nearly the same score, enlarged crops decide.
    """
    wide = checkpoint.model.vision.wide
    low, high = HELD
    held = wide.seen_at(tool[:, :3]) if low < float(tool[0, 3]) < high else None
    closer = _closer(checkpoint, picture) if held is None else None
    seen: Wide = wide.point(_keys(checkpoint, picture), found.vector[None, None], held, closer)
    there = held is not None and bool((seen.uv[0, 0] - held[0]).norm() < SPOT)
    return FoundThing(seen.uv, there)


def carried(found: PointedPlaces, tool: Tensor) -> PointedPlaces:
    """The same with the target in the gripper: it is at the tool, whatever the image shows."""
    xyz = found.xyz.clone()
    xyz[:, 0] = tool[:, :3]
    return replace(found, xyz=xyz, wrist_xyz=torch.zeros_like(found.wrist_xyz))


def absent(checkpoint: Checkpoint, picture: Array, found: Meaning) -> Reason | None:
    """The reason if the named object is absent from the same image."""
    wide = checkpoint.model.vision.wide
    keys, closer = _keys(checkpoint, picture), _closer(checkpoint, picture)
    told = wide.presence(keys, found.vector[None, None], closer)
    if float(told[0, 0]) >= 0:
        return None
    return Reason("not_seen", "nothing that is named is surely to be seen on the table")


def _closer(checkpoint: Checkpoint, picture: Array) -> LookCloser | None:
    wide = checkpoint.model.vision.wide
    return encoders.closer_look(wide.crops, picture, wide.crop_px)


def _keys(checkpoint: Checkpoint, picture: Array) -> Tensor:
    keys: Tensor = checkpoint.model.vision.wide.keys(encoders.features(picture[None]))
    return keys
