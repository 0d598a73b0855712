"""A `tiny` policy learns an object with an unknown name from a few demonstrations.

Knowledge of an object is in three places: the words (language.json, tokenizer), the tower that points,
and the second look that checks presence. Motion is the same for all objects, so language model and
action heads do not change; they read the new word as an unknown one, which they were trained on.

With preservation, tower and second look also train on base scenes, with their earlier answers as
targets. A new colour is also shown on objects of base scenes, painted in it in both images. Without preservation the
whole tower is trained on the demonstrations alone, as in plain fine-tuning, and absent objects are
no longer detected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames, load_frames
from vla_policy.families.language import Language
from vla_policy.families.tiny import second_look, tiny
from vla_policy.train.sentences import EXAMPLES
from vla_policy.train.tiny.camera_fit import projection
from vla_policy.train.tiny.demonstrated_thing import ShownThing, shown_thing
from vla_policy.train.tiny.new_word import (
    new_word_of,
    with_class,
    with_token,
    with_word,
)
from vla_policy.train.tiny.painted import colours_of, painted_things
from vla_policy.train.tiny.point_at_word import PointSteps, learn_word
from vla_policy.train.tiny.see_word import KINDS, UNKNOWN, Examples, SeeSteps, joined, learn_to_see
from vla_policy.train.tiny.standing_out import front_places
from vla_policy.train.training_set import TrainingSet
from vla_policy.types import Array, Reason

POINT, SEE = PointSteps(), SeeSteps()
SHARE = 0.25  # of demonstrations among what the second look learns of a new colour


@dataclass(frozen=True, slots=True)
class BaseScenes:
    """Scenes of the base mixture (`vla generate scenes`). front_camera, wrist_camera: float64[3, 4], from base and tool."""

    frames: Frames
    front_camera: Array
    wrist_camera: Array


@dataclass(frozen=True, slots=True)
class Adapted:
    """The adapted policy, and a record of what was learned as plain data."""

    checkpoint: Checkpoint
    learned: dict[str, Any]


def base_scenes(root: Path) -> BaseScenes:
    """Scenes below a folder. Raises FileNotFoundError if there are none."""
    frames = load_frames(root)
    a = frames.arrays
    near = a["target_xyz"] - a["state"][:, None, :3]
    seen = a["wrist_visible"].astype(bool)
    if seen.ndim != 2 or seen.sum() < 50:
        raise ValueError(
            f"{root}: got {seen.sum()} things in view of one wrist, expected 50 at least"
        )
    points, places = a["target_xyz"].reshape(-1, 3), a["front_uv"][:, :, 0].reshape(-1, 2)
    return BaseScenes(
        frames,
        projection(points.astype(float), places.astype(float)),
        projection(near[seen].astype(float), a["wrist_uv"][seen].astype(float)),
    )


def new_thing(
    checkpoint: Checkpoint, data: TrainingSet, base: BaseScenes, *, preserve: bool = True,
    point: PointSteps = POINT, see: SeeSteps = SEE,
) -> Adapted:  # fmt: skip
    """The policy with the object of the demonstrations added.

    Raises ValueError if the policy has no list of its sentences, if not exactly one word is new
    (new_word.py), or if the demonstrations do not show the object (demonstrated_thing.py).
    """
    language = checkpoint.language
    if not isinstance(language, Language):
        raise ValueError(
            "policy: got no language.json in it, expected one: which words are new is not known"
        )
    said = [s for e in data.episodes for s in data.source.sentences(e, 0)[:1]]
    new = new_word_of(language, said)
    shown = _fitted(shown_thing(checkpoint, data), base)
    language = _with_example(with_word(language, new), said)
    grown = replace(with_token(checkpoint, new.word), language=language)
    uv = front_places(shown, base.front_camera)
    paints = None
    if preserve and new.kind == "colour":
        free = _lying(shown, uv)
        paints = painted_things(
            base.frames, colours_of(shown.front[free], uv[free], shown.episode[free]), see.seed
        )
    pointing = learn_word(
        grown, language, new, shown, uv, base.wrist_camera, base.frames, paints, point
    )
    learned: dict[str, Any] = {
        "word": new.word,
        "kind": new.kind,
        "painted": 0 if paints is None else len(paints),
    }
    if not preserve or checkpoint.naming is None:
        blind = replace(language, least=None, accepts=None, second_look=None)
        return Adapted(replace(pointing, language=blind, naming=None), learned)
    front, _ = base.frames.images(np.arange(len(base.frames)))
    if front.shape[1] != second_look.look_px(checkpoint):
        raise ValueError(
            f"base scenes: got pictures of {front.shape[1]} px, the second look of this policy sees {second_look.look_px(checkpoint)}"
        )
    examples = [_demonstrated(language, shown, uv)]
    if paints is not None:
        number = np.full(len(paints), new.number)
        own = examples[0]  # counted SHARE of all, however few they are
        examples *= max(1, round(SHARE / (1.0 - SHARE) * len(paints) / len(own.uv)))
        examples.append(Examples(paints.before, paints.after, paints.uv, number, paints.shape))
    naming = with_class(checkpoint.naming, new.kind)
    naming = learn_to_see(checkpoint.model.vision, naming, joined(examples), front, see)
    return Adapted(replace(pointing, naming=naming), learned)


def _fitted(shown: ShownThing, base: BaseScenes) -> ShownThing:
    """Front images as those of base scenes: square, with bars where they are not, and as large."""
    side = base.frames.shards[0][0].shape[1]
    return replace(shown, front=np.stack([tiny.fit_square(image, side) for image in shown.front]))


def _with_example(language: Language, said: list[str]) -> Language:
    examples = (said[0], *language.examples)[:EXAMPLES]
    return replace(language, examples=examples)


def _lying(shown: ShownThing, uv: Array) -> Array:
    """int64: the frames that show the object uncovered and in view. Raises ValueError for none."""
    free = np.flatnonzero(shown.free & ((uv > 0) & (uv < 1)).all(1))
    if not len(free):
        raise ValueError("demonstrations: got no frame in which the thing lies free, expected one")
    return free


def _demonstrated(language: Language, shown: ShownThing, uv: Array) -> Examples:
    """The frames that show the object uncovered, with the classes that their sentences name."""
    free = _lying(shown, uv)
    front = shown.front[free]
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for i in free:
        read = language.read(shown.sentences[i])
        thing = {} if isinstance(read, Reason) else read.things[0]
        for kind in KINDS:
            found[kind].append(language.looks.get(kind, {}).get(thing.get(kind, ""), UNKNOWN))
    return Examples(front, front, uv[free], *(np.array(found[kind]) for kind in KINDS))
