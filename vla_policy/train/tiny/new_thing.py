"""A `tiny` policy learns a thing with a name that it did not know, from a few demonstrations.

What is known of a thing is in three places: the words (language.json, tokenizer), the tower that points, the second look that tells
what is there. Motion is shared by all things, so language model and heads stay as they are; they read the new word as one that they
do not know, which they were trained on.

With preservation only what belongs to the word learns, beside base scenes that must be answered as before. Without it the whole
tower learns from the demonstrations alone, as in plain fine-tuning, and then nothing tells any more what it does not see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import load_frames
from vla_policy.families.language import Language
from vla_policy.families.tiny import second_look
from vla_policy.train.sentences import EXAMPLES
from vla_policy.train.tiny.demonstrated_thing import ShownThing, shown_thing
from vla_policy.train.tiny.new_word import (
    NewWord,
    new_word_of,
    with_class,
    with_token,
    with_word,
)
from vla_policy.train.tiny.point_at_word import PointSteps, front_places, learn_word, projection
from vla_policy.train.tiny.see_word import SeeSteps, learn_to_see
from vla_policy.train.training_set import TrainingSet
from vla_policy.types import Array, Reason

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class BaseScenes:
    """Scenes of the base mixture (`vla generate scenes`). front: uint8[n, h, w, 3]. wrist_camera: float64[3, 4]."""

    front: Array
    wrist_camera: Array


@dataclass(frozen=True, slots=True)
class Adapted:
    """The policy afterwards, and what was learned, as plain data."""

    checkpoint: Checkpoint
    learned: dict[str, Any]


def base_scenes(root: Path) -> BaseScenes:
    """Raises FileNotFoundError for no scenes."""
    frames = load_frames(root)
    front, _ = frames.images(np.arange(len(frames)))
    a = frames.arrays
    near = a["target_xyz"] - a["state"][:, None, :3]
    seen = a["wrist_visible"].astype(bool)
    if seen.ndim != 2 or seen.sum() < 50:
        raise ValueError(f"{root}: got {seen.sum()} things in view of one wrist, expected 50 at least")
    return BaseScenes(front, projection(near[seen].astype(float), a["wrist_uv"][seen].astype(float)))


def new_thing(
    checkpoint: Checkpoint, data: TrainingSet, base: BaseScenes, *, preserve: bool = True,
    point: PointSteps | None = None, see: SeeSteps | None = None,
) -> Adapted:  # fmt: skip
    """The policy with the thing of the demonstrations.

    Raises ValueError where the policy keeps no list of its sentences, where not one word is new (new_word.py), and where the
    demonstrations do not show the thing (demonstrated_thing.py).
    """
    language = checkpoint.language
    if not isinstance(language, Language):
        raise ValueError("policy: got no language.json in it, expected one: which words are new is not known")
    said = [s for e in data.episodes for s in data.source.sentences(e, 0)[:1]]
    new = new_word_of(language, said)
    shown = shown_thing(checkpoint, data)
    language = _with_example(with_word(language, new), said)
    grown = replace(with_token(checkpoint, new.word), language=language)
    point = point or PointSteps(whole=not preserve, rate=2e-2 if preserve else 1e-3)
    pointing = learn_word(grown, language, new, shown, base.wrist_camera, point)
    learned: dict[str, Any] = {"word": new.word, "kind": new.kind, "frames": len(shown), "preserve": preserve}
    if not preserve or checkpoint.naming is None:
        blind = replace(language, least=None, accepts=None, second_look=None)
        return Adapted(replace(pointing, language=blind, naming=None), learned)
    naming = learn_to_see(
        checkpoint.model.vision,
        with_class(checkpoint.naming, new.kind),
        new,
        shown,
        front_places(grown, language, new, shown),
        _as_large(base, second_look.look_px(checkpoint)),
        _known_classes(language, new, shown),
        see or SeeSteps(),
    )
    return Adapted(replace(pointing, naming=naming), learned)


def _as_large(base: BaseScenes, side_px: int) -> Array:
    if base.front.shape[1] != side_px:
        raise ValueError(
            f"base scenes: got pictures of {base.front.shape[1]} px, the second look of this policy sees {side_px}"
        )
    return base.front


def _with_example(language: Language, said: list[str]) -> Language:
    examples = (said[0], *language.examples)[:EXAMPLES]
    return replace(language, examples=examples)


def _known_classes(language: Language, new: NewWord, shown: ShownThing) -> dict[str, Array]:
    """Of the thing in each frame, by the kinds of looks: what the sentence says; UNKNOWN where it says nothing."""
    found: dict[str, list[int]] = {kind: [] for kind in language.looks}
    for sentence in shown.sentences:
        read = language.read(sentence)
        thing = {} if isinstance(read, Reason) else read.things[0]
        for kind, numbers in language.looks.items():
            found[kind].append(numbers.get(thing.get(kind, ""), UNKNOWN))
    return {kind: np.array(values) for kind, values in found.items()}
