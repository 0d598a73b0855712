"""Sentences beyond the trained ones, for checkpoints with pre-trained encoders (models/wide.py).

A free sentence becomes a plan: a trained sentence about "the object", which language model and heads obey as ever, and a
place in the front image, which the pointing tower then looks at. Sentences that were trained are read without all this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import NEGATIONS, heard
from vla_policy.models import encoders
from vla_policy.models.wide import INTENTS, Wide
from vla_policy.types import Array, Reason

PLANS = {
    "pick": "pick up the object",
    "tray": "put the object in the tray",
    "pad": "put the object on the pad",
}
# Beside those of English: the encoder hardly tells a sentence from its negation, so they are refused by word.
OTHER_NEGATIONS = frozenset(
    "nicht kein keine keinen nie ne pas jamais aucun nunca ningún non не нет".split()
)
NEGATING_SIGNS = ("不", "别", "没", "ない", "ません")
COMMAND = 0.5  # probability of a command below which nothing is done


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a free sentence asks for. plan: a trained sentence. vector: float32[t], of the sentence."""

    plan: str
    vector: Tensor


def meaning(checkpoint: Checkpoint, instruction: str) -> Meaning | Reason | None:
    """What a sentence that was not trained means, or why it is not followed; None if the checkpoint has no encoders."""
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


def look(checkpoint: Checkpoint, picture: Array, found: Meaning) -> Wide:
    """Where the thing is in uint8[side, side, 3] of the front camera, and how surely it is there."""
    wide = checkpoint.model.vision.wide
    seen: Wide = wide(encoders.features(picture[None]), found.vector[None, None])
    return seen


def absent(checkpoint: Checkpoint, seen: Wide) -> Reason | None:
    """That the thing is not to be seen, if so."""
    if float(seen.score[0, 0]) >= float(checkpoint.model.vision.wide.least):
        return None
    return Reason("not_seen", "nothing that is named is to be seen on the table")
