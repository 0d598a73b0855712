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
from vla_policy.families.tiny.questions import is_question
from vla_policy.models import encoders
from vla_policy.models.crops import CANDIDATES, FIGURE_CANDIDATES, FIGURE_WINDOW
from vla_policy.models.pointing import PointedPlaces
from vla_policy.models.wide import INTENTS, SPOT, LookCloser, Wide, WidePointing
from vla_policy.types import QUESTION, Array, Reason

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
# So are these, by which a sentence takes back, excludes or names another thing: its vector says which things are named, not
# which one is meant.
ELSE = frozenset(
    "but besides excluding rather instead actually mean meant oops correction other another else unless ignore skip spare "
    "außer sondern statt stattdessen lieber andere anderen anderes anderer ohne "
    "sauf plutôt autre mais sans excepto salvo otro otra sino sin".split()
)
ELSE_SIGNS = ("而是", "除了", "另")
NEGATING_SIGNS = ("不", "别", "没", "ない", "ません")
UNCLEAR = "is not clear to this policy"
HELD = (0.3, 0.82)  # openings between which the gripper has closed on an object
COMMAND = 0.5  # least probability of a command


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of a free sentence.

    plan: a trained sentence. vector: float32[t], of the sentence, or of the figure that it names, perhaps as a sum; then told is a
    plain command with the same meaning, else empty.
    """

    plan: str
    vector: Tensor
    told: str = ""


def meaning(checkpoint: Checkpoint, instruction: str) -> Meaning | Reason | None:
    """Meaning of an untrained sentence, or why it is not followed; None without encoders."""
    wide = getattr(checkpoint.model.vision, "wide", None)
    return None if wide is None else read(wide, instruction, checkpoint.device)


def read(wide: WidePointing, instruction: str, device: torch.device) -> Meaning | Reason:
    """meaning() by this head."""
    words = heard(instruction)
    if is_question(words):
        return Reason(QUESTION, "a question is answered in words, if at all; nothing moves")
    negated = [w for w in words if w in NEGATIONS | OTHER_NEGATIONS]
    negated += [sign for sign in NEGATING_SIGNS if sign in instruction]
    if negated:
        return Reason("words", f"{negated[0]!r}: this policy cannot read a negation")
    unclear_words = [w for w in words if w in ELSE]
    unclear_words += [sign for sign in ELSE_SIGNS if sign in instruction]
    if unclear_words:
        return Reason("words", f"{unclear_words[0]!r}: which one thing is meant {UNCLEAR}")
    vector = encoders.sentence_vector(" ".join(instruction.lower().split()).rstrip(" .!"))
    vector = vector.to(device)
    with torch.inference_mode():
        chances = wide.intents(vector).softmax(-1)
        reader, centred = wide.reader, wide.centred(vector)
        unclear = reader is not None and reader.is_unclear(centred)
        figure = None if reader is None else reader.figure(centred)
    if chances[0] > 1 - COMMAND:
        return Reason("words", "this is no command that this policy knows")
    if unclear:
        return Reason("words", f"which one thing is meant {UNCLEAR}")
    plan = PLANS[INTENTS[int(chances[1:].argmax()) + 1]]
    if figure is None or reader is None:
        return Meaning(plan, vector)
    return Meaning(plan, reader.says[figure].detach(), plan.replace("the object", f"the {figure}"))


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
    closer = closer_of(wide, picture, found) if held is None else None
    keys, most = keys_of(checkpoint, picture), most_places(found)
    seen: Wide = wide.point(keys, found.vector[None, None], held, closer, most)
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
    keys, closer = keys_of(checkpoint, picture), closer_of(wide, picture, found)
    told = wide.presence(keys, found.vector[None, None], closer, most_places(found))
    if float(told[0, 0]) >= 0:
        return None
    return Reason("not_seen", "nothing that is named is surely to be seen on the table")


def most_places(found: Meaning) -> int:
    """How many places are looked at closely at most."""
    return FIGURE_CANDIDATES if found.told else CANDIDATES


def closer_of(
    wide: WidePointing, picture: Array, found: Meaning | None = None
) -> LookCloser | None:
    """How crops of the same image are seen, larger where a figure is meant; None without a head for them."""
    if found is None or not found.told:
        return encoders.closer_look(wide.crops, picture, wide.crop_px)
    return encoders.closer_look(wide.figures, picture, wide.crop_px, FIGURE_WINDOW)


def keys_of(checkpoint: Checkpoint, picture: Array) -> Tensor:
    """float32[1, p, k], the keys of the patches of the same image."""
    keys: Tensor = checkpoint.model.vision.wide.keys(encoders.features(picture[None]))
    return keys
