"""The pointing tower learns a new word from demonstrations of the object, on many views of their frames.

With preservation only the word's embedding, the layers that locate and describe (keys, values and positions) and the
features of the wrist image are trained, not those of the front image, which the second look uses, nor other words. On base
scenes the tower's earlier answers are the targets (kept_answers.py), and a new colour is shown on their objects (painted_lesson.py).
The only labels are object positions (demonstrated_thing.py). Their location in the images follows from cameras fitted on base
scenes (camera_fit.py), corrected in the front image (standing_out.py).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames
from vla_policy.families.language import Language
from vla_policy.families.tiny import tiny
from vla_policy.families.tiny.pointing_training import arm_parts
from vla_policy.models import tokenizer
from vla_policy.models.pointing import PointingTower
from vla_policy.train.tiny.camera_fit import projected
from vla_policy.train.tiny.demonstrated_thing import ShownThing
from vla_policy.train.tiny.kept_answers import encoded, kept, lit
from vla_policy.train.tiny.new_word import NewWord
from vla_policy.train.tiny.painted import PaintedThings
from vla_policy.train.tiny.painted_lesson import LEFT_OUT, painted_parts, truth_of
from vla_policy.train.tiny.phrases import phrases
from vla_policy.types import Array, Reason, required

WORD = "embed.weight"
# Trained besides the word.
REACH = (
    "front.key", "front.value", "wrist.key", "wrist.value", "wrist.stem", "wrist_query", "wrist_bias", "place",
    "wrist_place",
)  # fmt: skip
DEEP = ("wrist.stem",)  # at a lower rate


@dataclass(frozen=True, slots=True)
class PointSteps:
    """batch: images per step of each kind (demonstrated, painted, base), each with `questions` sentences.

    word_rate: of the word's embedding. deep: factor of the rate of features. keep: weight of the earlier answers.
    whole: the whole tower is trained, and no answers are preserved.
    """

    steps: int = 200
    batch: int = 8
    questions: int = 4
    word_rate: float = 2e-2
    rate: float = 1e-3
    deep: float = 0.3
    keep: float = 2.0
    whole: bool = False
    seed: int = 0


def learn_word(
    checkpoint: Checkpoint,
    language: Language,
    new: NewWord,
    shown: ShownThing,
    uv: Array,
    wrist_camera: Array,
    base: Frames,
    paints: PaintedThings | None,
    options: PointSteps,
) -> Checkpoint:
    """The checkpoint with a tower that points at the objects of the word.

    language: with the word, which must have a token. uv: float64[n, 2], of the object in the front images.
    wrist_camera: float64[3, 4], of points relative to the tool. paints: objects of base.
    """
    model = copy.deepcopy(checkpoint.model)
    tower: PointingTower = model.vision
    teacher: PointingTower = checkpoint.model.vision
    row = tokenizer.id_of(checkpoint.tokenizer, new.word)
    named = _learned(tower, checkpoint, language, new, row, whole=options.whole)
    learned, rates = [p for _, p in named], [_rate(name, options) for name, _ in named]
    groups = [{"params": [p], "lr": r} for p, r in zip(learned, rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=options.steps, pct_start=0.1
    )
    for step in range(options.steps):
        rng = np.random.default_rng((options.seed, step))
        batch = _batch(checkpoint, language, new, shown, rng, options)
        parts = _parts(tower, teacher, batch, shown, uv, wrist_camera)
        if paints is not None:
            parts |= painted_parts(
                tower, teacher, checkpoint, language, new, paints, base, rng,
                count=options.batch, questions=options.questions,
            )  # fmt: skip
        if not options.whole:
            old = kept(tower, teacher, checkpoint, base, rng, options.batch)
            parts["keep"] = options.keep * old
        loss = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        if not options.whole:
            only_row(tower.embed.weight, row)
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            said = ", ".join(f"{k} {v.item():.3f}" for k, v in parts.items())
            print(f"{step + 1}: {said}", flush=True)
    model.requires_grad_(True)
    model.eval()
    return replace(checkpoint, model=model)


def _learned(
    tower: PointingTower, checkpoint: Checkpoint, language: Language, new: NewWord, row: int,
    *, whole: bool,
) -> Sequence[tuple[str, Tensor]]:  # fmt: skip
    """The trained parameters, by name; the word starts at the mean of the words of its kind."""
    weight = tower.embed.weight
    others = [checkpoint.tokenizer.token_to_id(w) for w in language.classes[new.kind]]
    rows = [i for i in others if i is not None and i != row]
    with torch.no_grad():
        weight[row] = weight[rows].mean(0)
    tower.requires_grad_(whole)
    weight.requires_grad_(True)
    if whole:
        return list(tower.named_parameters())
    reached = [(n, p) for n, p in tower.named_parameters() if n.startswith(REACH)]
    for _, parameter in reached:
        parameter.requires_grad_(True)
    return [(WORD, weight), *reached]


def _rate(name: str, options: PointSteps) -> float:
    if options.whole:
        return options.rate
    if name == WORD:
        return options.word_rate
    return options.rate * (options.deep if name.startswith(DEEP) else 1.0)


def only_row(weight: Tensor, row: int) -> None:
    """Keep only the gradient of one row: without weight decay the others then do not change at all."""
    gradient = required(weight.grad, "embed: gradient")
    own = gradient[row].clone()
    gradient.zero_()
    gradient[row] = own


@dataclass(frozen=True, slots=True)
class _Asked:
    """index: int64[b], frames. front, wrist: float32[b, 3, h, w]. text, known: int64[b, q, s]."""

    index: Array
    front: Tensor
    wrist: Tensor
    text: Tensor
    known: Tensor


def _batch(
    checkpoint: Checkpoint, language: Language, new: NewWord, shown: ShownThing,
    rng: np.random.Generator, options: PointSteps,
) -> _Asked:  # fmt: skip
    index = rng.integers(0, len(shown), options.batch)
    side = checkpoint.model.vision.config.image_px
    seen = [
        np.stack([tiny.fit_square(x[i], side) for i in index]) for x in (shown.front, shown.wrist)
    ]
    front, wrist = lit(seen, rng.integers(2**62, size=len(index)))
    said = [
        phrases(language, new, _thing(language, shown.sentences[i]), options.questions, rng)
        for i in index
    ]
    text, known = (
        torch.stack([encoded(checkpoint, [pair[k] for pair in pairs]) for pairs in said])
        for k in (0, 1)
    )
    room = int(max((text != 0).sum(-1).max(), (known != 0).sum(-1).max()))
    return _Asked(index, front, wrist, text[..., :room], known[..., :room])


def _parts(
    tower: PointingTower, teacher: PointingTower, batch: _Asked, shown: ShownThing, uv: Array,
    wrist_camera: Array,
) -> dict[str, Tensor]:  # fmt: skip
    """The losses of the lesson "pointing" with positions as labels; destination and reference from the teacher."""
    i, q = batch.index, batch.text.shape[1]
    tool = torch.tensor(shown.tool[i])
    near, visible = projected(wrist_camera, shown.xyz[i] - shown.tool[i, :3])
    with torch.no_grad():
        seen = teacher.look(batch.front, batch.known)
        said = teacher.look_closer(seen, batch.wrist, tool)
        truth = truth_of(teacher, said, shown.xyz[i], uv[i], near, visible)
    answer = tower.look_closer(tower.look(batch.front, batch.text), batch.wrist, tool)
    parts = arm_parts(tower, answer, truth, tool[:, :3].repeat_interleave(q, 0))
    return {k: v for k, v in parts.items() if k not in LEFT_OUT}


def _thing(language: Language, sentence: str) -> Mapping[str, str]:
    """The words that name the target object."""
    read = language.read(sentence)
    if isinstance(read, Reason) or not read.things:
        raise ValueError(f"{sentence!r}: got no thing in it, expected the demonstrated one")
    return read.things[0]
