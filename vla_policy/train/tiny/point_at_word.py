"""The pointing tower learns a new word from demonstrations of the object, on many views of their frames.

With preservation only the word's embedding and the layers that locate (keys and positions) are trained,
not the image features nor other words; on base scenes the tower's earlier answers are the targets.
The only labels are object positions (demonstrated_thing.py). Their location in the front image is the
patch for which the tower itself predicts that position, in the wrist image a projection fitted on base scenes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames
from vla_policy.families.language import Language
from vla_policy.families.tiny import tiny
from vla_policy.families.tiny.pointing_training import arm_parts, heat_loss, relit
from vla_policy.models import tokenizer
from vla_policy.models.pointing import PointingTower
from vla_policy.train.tiny.demonstrated_thing import ShownThing
from vla_policy.train.tiny.new_word import NewWord
from vla_policy.train.tiny.painted import PaintedThings
from vla_policy.train.tiny.phrases import phrases
from vla_policy.types import Array, Reason, required

NO_LABEL = -100  # ignored by cross-entropy
SURE = (1.5, 0.3)  # confidence of a location
BESIDE_M = 0.008  # spread of a position over the patches
# Trained besides the word.
REACH = ("front.key", "wrist.key", "wrist_query", "wrist_bias", "place", "wrist_place")
LEFT_OUT = ("found", "name")  # parts of the loss whose labels demonstrations lack


@dataclass(frozen=True, slots=True)
class PointSteps:
    """batch: frames of a step, each with `questions` sentences. keep: weight of the earlier answers.

    whole: the whole tower is trained, and no answers are preserved.
    """

    steps: int = 200
    batch: int = 8
    questions: int = 4
    word_rate: float = 2e-2
    rate: float = 1e-3
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

    language: with the word, which must have a token. uv: float64[n, 2], see `front_places`.
    wrist_camera: float64[3, 4], see `projection`. paints: more examples, for the front camera only.
    """
    model = copy.deepcopy(checkpoint.model)
    tower: PointingTower = model.vision
    teacher: PointingTower = checkpoint.model.vision
    row = tokenizer.id_of(checkpoint.tokenizer, new.word)
    learned = _learned(tower, checkpoint, language, new, row, whole=options.whole)
    word = tower.embed.weight
    rates = [
        options.rate if p is not word or options.whole else options.word_rate for p in learned
    ]
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
            parts |= _painted_parts(tower, checkpoint, language, new, paints, rng, options)
        if not options.whole:
            parts["keep"] = options.keep * _kept(
                tower, teacher, checkpoint, base, rng, options.batch
            )
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


def projection(xyz: Array, uv: Array) -> Array:
    """float64[3, 4] that maps points float64[n, 3] to image locations float64[n, 2], by least squares (DLT)."""
    x = np.concatenate((xyz, np.ones((len(xyz), 1))), 1)
    zero = np.zeros_like(x)
    rows = np.concatenate(
        (
            np.concatenate((x, zero, -uv[:, :1] * x), 1),
            np.concatenate((zero, x, -uv[:, 1:] * x), 1),
        )
    )
    camera = np.linalg.svd(rows)[2][-1].reshape(3, 4)
    # In front of the camera the third is positive.
    found: Array = camera * np.sign(camera[2] @ x.mean(0))
    return found


def projected(camera: Array, xyz: Array) -> tuple[Array, Array]:
    """float64[n, 2] locations, and bool[n] whether they are in the image."""
    x = np.concatenate((xyz, np.ones((len(xyz), 1))), 1) @ camera.T
    depth = np.where(np.abs(x[:, 2:]) < 1e-9, 1e-9, x[:, 2:])
    uv = x[:, :2] / depth
    seen = (x[:, 2] > 0) & ((uv > 0) & (uv < 1)).all(1)
    return uv, seen


@torch.no_grad()
def front_places(
    checkpoint: Checkpoint, language: Language, new: NewWord, shown: ShownThing
) -> Array:
    """float64[n, 2]: location of the object in the front image: the patches for which the tower predicts its position."""
    tower: PointingTower = checkpoint.model.vision
    side = tower.config.image_px
    found = []
    for i, sentence in enumerate(shown.sentences):
        known = _known(language, new, sentence)
        text = _encoded(checkpoint, [known])[None]
        image = tiny.picture(shown.front[i], side)[None]
        seen = tower.look(image, text)
        _, values, summary = tower.front(image)
        patches = values.shape[1]
        context = torch.cat(
            (
                tower.front.uv,
                seen.value[0, 0, :1].expand(
                    patches, -1
                ),  # of an object: a patch of the table has none
                torch.tensor([SURE]).expand(patches, -1),
                summary.expand(patches, -1),
                seen.ask[0, 0, :1].expand(patches, -1),
            ),
            -1,
        )
        xyz = tower.place(context) * 0.3
        away = (xyz[:, :2] - torch.tensor(shown.xyz[i, :2])).square().sum(-1)
        share = (-away / (2 * BESIDE_M**2)).softmax(0)
        found.append((share @ tower.front.uv).double().numpy())
    return np.stack(found)


def _learned(
    tower: PointingTower, checkpoint: Checkpoint, language: Language, new: NewWord, row: int,
    *, whole: bool,
) -> list[torch.nn.Parameter]:  # fmt: skip
    """The trained parameters; the word starts at the mean of the words of its kind."""
    weight = tower.embed.weight
    others = [checkpoint.tokenizer.token_to_id(w) for w in language.classes[new.kind]]
    rows = [i for i in others if i is not None and i != row]
    with torch.no_grad():
        weight[row] = weight[rows].mean(0)
    tower.requires_grad_(whole)
    weight.requires_grad_(True)
    if whole:
        return list(tower.parameters())
    others = [p for n, p in tower.named_parameters() if n.rsplit(".", 1)[0].startswith(REACH)]
    for parameter in others:
        parameter.requires_grad_(True)
    return [weight, *others]


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
    each = [torch.Generator().manual_seed(int(s)) for s in rng.integers(2**62, size=len(index))]
    front, wrist = (
        relit(torch.from_numpy(np.stack([tiny.fit_square(x[i], side) for i in index])), each)
        for x in (shown.front, shown.wrist)
    )
    said = [
        phrases(language, new, _thing(language, shown.sentences[i]), options.questions, rng)
        for i in index
    ]
    text, known = (
        torch.stack([_encoded(checkpoint, [pair[k] for pair in pairs]) for pairs in said])
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
    with torch.no_grad():
        said = teacher.look(batch.front, batch.known)
        there = (teacher.present(said.ask).squeeze(-1) > 0).flatten(0, 1)  # (n, 3)
        xyz = said.xyz.flatten(0, 1)
        places = (said.heat.softmax(-1) @ teacher.front.uv).flatten(0, 1)
    xyz = torch.where(there[..., None], xyz, torch.nan)
    places = torch.where(there[..., None], places, torch.nan)
    xyz[:, 0] = torch.tensor(shown.xyz[i]).repeat_interleave(q, 0)
    places[:, 0] = torch.tensor(uv[i]).float().repeat_interleave(q, 0)
    tool = torch.tensor(shown.tool[i])
    near, visible = projected(wrist_camera, shown.xyz[i] - shown.tool[i, :3])
    none = torch.full((len(xyz),), NO_LABEL)
    truth = {
        "xyz": xyz, "uv": places,
        "wrist_uv": torch.tensor(near).float().repeat_interleave(q, 0),
        "wrist_visible": torch.tensor(visible).repeat_interleave(q, 0),
        "colour": none, "shape": none, "size": torch.zeros(len(xyz)),
    }  # fmt: skip
    answer = tower.look_closer(tower.look(batch.front, batch.text), batch.wrist, tool)
    parts = arm_parts(tower, answer, truth, tool[:, :3].repeat_interleave(q, 0))
    return {k: v for k, v in parts.items() if k not in LEFT_OUT}


def _kept(
    tower: PointingTower, teacher: PointingTower, checkpoint: Checkpoint, base: Frames,
    rng: np.random.Generator, count: int,
) -> Tensor:  # fmt: skip
    """Distance of the answers about base scenes from the earlier ones: positions per 10 cm, wrist per 5 cm, attention."""
    i = rng.integers(0, len(base), count)
    each = [torch.Generator().manual_seed(int(s)) for s in rng.integers(2**62, size=count)]
    front, wrist = (relit(torch.from_numpy(x), each) for x in base.images(i))
    text = torch.stack([_encoded(checkpoint, base.texts[k]) for k in i])
    text = text[..., : int((text != 0).sum(-1).max())]
    tool = torch.tensor(base.arrays["state"][i][:, [0, 1, 2, 7]])
    with torch.no_grad():
        old = teacher.look_closer(teacher.look(front, text), wrist, tool)
    now = tower.look_closer(tower.look(front, text), wrist, tool)
    there = (old.found.present > 0).float()[..., None]
    seen = (old.found.wrist_visible > 0).float()
    off = (now.found.xyz - old.found.xyz) * there / 0.1
    near = (now.found.wrist_xyz - old.found.wrist_xyz) * seen / 0.05
    heat = _divergence(old.heat, now.heat) * there[..., 0]
    wrist_heat = _divergence(old.wrist_heat, now.wrist_heat) * seen[:, 0]
    view = F.mse_loss(now.found.wrist_visible, old.found.wrist_visible)
    places = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1) * 9
    closer = F.smooth_l1_loss(near, torch.zeros_like(near), beta=0.1) * 3
    return places + closer + heat.mean() + wrist_heat.mean() + 0.05 * view


def _divergence(old: Tensor, now: Tensor) -> Tensor:
    """Kullback-Leibler divergence of attention logits [..., p]: [...]."""
    was = old.softmax(-1)
    return (was * (old.log_softmax(-1) - now.log_softmax(-1))).sum(-1)


def _painted_parts(
    tower: PointingTower, checkpoint: Checkpoint, language: Language, new: NewWord,
    paints: PaintedThings, rng: np.random.Generator, options: PointSteps,
) -> dict[str, Tensor]:  # fmt: skip
    """The losses of the front image: location of the painted object, for sentences with or without its shape."""
    i, q = rng.integers(0, len(paints), options.batch), options.questions
    each = [torch.Generator().manual_seed(int(s)) for s in rng.integers(2**62, size=len(i))]
    front = relit(torch.from_numpy(paints.after[i]), each)
    names = {number: word for word, number in language.looks["shape"].items()}
    said = [phrases(language, new, {"shape": names[int(paints.shape[k])]}, q, rng) for k in i]
    text = torch.stack([_encoded(checkpoint, [new_one for new_one, _ in pairs]) for pairs in said])
    seen = tower.look(front, text[..., : int((text != 0).sum(-1).max())])
    xyz = torch.tensor(paints.xyz[i])[:, None].expand(-1, q, -1)
    uv = torch.tensor(paints.uv[i]).float()[:, None].expand(-1, q, -1)
    off = F.smooth_l1_loss(seen.xyz[:, :, 0] / 0.1, xyz / 0.1, beta=0.1, reduction="none").sum(-1)
    there = torch.ones(uv.shape[:2], dtype=torch.bool)
    return {
        "painted_xyz": off.mean(),
        "painted_heat": 0.3 * heat_loss(seen.heat[:, :, 0], uv, there, tower.front.uv),
    }


def _thing(language: Language, sentence: str) -> Mapping[str, str]:
    """The words that name the target object."""
    read = language.read(sentence)
    if isinstance(read, Reason) or not read.things:
        raise ValueError(f"{sentence!r}: got no thing in it, expected the demonstrated one")
    return read.things[0]


def _known(language: Language, new: NewWord, sentence: str) -> str:
    """The trained sentence with a word that was known before."""
    read = language.read(sentence)
    if isinstance(read, Reason):
        raise ValueError(f"{sentence!r}: {read.detail}")
    words = read.said.split()
    return " ".join(language.classes[new.kind][0] if w == new.word else w for w in words)


def _encoded(checkpoint: Checkpoint, sentences: Sequence[str]) -> Tensor:
    room = checkpoint.model.config.max_text
    ids = [tokenizer.encode(checkpoint.tokenizer, tokenizer.clean(s), room) for s in sentences]
    return torch.tensor(ids)
