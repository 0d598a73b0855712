"""Answers in words to questions about the table, by the same looks that an instruction gets first (models/wide.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import heard
from vla_policy.families.tiny import meaning
from vla_policy.families.tiny.questions import asked_thing, asks_what_is_there
from vla_policy.models.wide import SPOT, WidePointing
from vla_policy.types import Array

MOST_PLACES = 8  # that are looked at closely
SURE_NAME = 0.5  # least probability of a name


def answer(checkpoint: Checkpoint, picture: Array, question: str) -> str:
    """Whether a thing is there, or what there is, in uint8[side, side, 3] of the front camera.

    What there is, only where the checkpoint has names for it (`named` of its language).
    Raises ValueError for a checkpoint that answers no such questions.
    """
    if getattr(checkpoint.model.vision, "wide", None) is None:
        raise ValueError("this policy answers no questions")
    words = heard(question)
    names = () if checkpoint.language is None else checkpoint.language.named
    if names and asks_what_is_there(words):
        return _listed(checkpoint, picture, names)
    thing = asked_thing(words)
    if thing is None:
        also = "what is on the table, and " if names else ""
        return f"it answers only {also}whether a thing is there that is named"
    found = meaning.meaning(checkpoint, f"pick up the {thing}")
    if not isinstance(found, meaning.Meaning):
        return f"it does not know {thing!r}"
    with torch.inference_mode():
        missing = meaning.absent(checkpoint, picture, found)
    return (
        f"no, {thing!r} is not surely to be seen" if missing else f"yes, {thing!r} is to be seen"
    )


def _listed(checkpoint: Checkpoint, picture: Array, names: Sequence[str]) -> str:
    seen = things_there(checkpoint, picture)
    if not seen:
        return "nothing is surely to be seen on the table"
    counts = Counter(
        names[n] if n is not None and n < len(names) else "a thing that it cannot name"
        for n in seen
    )
    told = (f"{count} x {name}" if count > 1 else name for name, count in sorted(counts.items()))
    return f"on the table it sees {', '.join(told)}"


def things_there(checkpoint: Checkpoint, picture: Array) -> list[int | None]:
    """Number of the known name of each thing in the same image; None for one that is not named surely."""
    wide: WidePointing = checkpoint.model.vision.wide
    closer = meaning.closer_of(wide, picture)
    if closer is None or wide.crops is None:
        raise ValueError("this policy answers no questions: it has no closer look")
    with torch.inference_mode():
        keys = meaning.keys_of(checkpoint, picture)[0]
        left = (keys @ wide.known.T).amax(-1)
        places = []
        for _ in range(MOST_PLACES):
            at = wide.grid[left.argmax()]
            places.append(at)
            left = left.masked_fill((wide.grid - at).square().sum(-1) <= SPOT**2, -1.0)
        shown = closer(torch.stack(places)[None, None])[0, 0]
        chances = wide.crops.logits(shown, wide.known).softmax(-1)
    found: list[int | None] = []
    for chance in chances:
        if float(chance[-1]) < 0.5:
            best = int(chance[:-1].argmax())
            found.append(best if float(chance[best]) >= SURE_NAME else None)
    return found
