"""Training of the wide pointing head on cached features of the frozen encoders; minutes on one core."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from vla_policy.data.web.pictures import WebPictures
from vla_policy.models import encoders
from vla_policy.models.config import WideConfig
from vla_policy.models.wide import Wide, WidePointing
from vla_policy.sim.scenes.scene import COLOURS, HELD_OUT_PAIRS, SHAPES
from vla_policy.sim.tasks.references import SHAPE_WORDS
from vla_policy.train.meaning.digits import DIGITS
from vla_policy.train.meaning.pictures import MOST, ThingPictures
from vla_policy.train.meaning.words import (
    SENSELESS,
    names_of,
    sentences_about,
    sentences_about_digit,
    sentences_with_errors,
)
from vla_policy.train.optimiser import take_step

TEXTS = 16  # about each object
ERRORS = 8  # more of them, with typing errors; of digits without
SIGMA = 0.04  # of the attention's target distribution, of the image side
BATCH = 20
RATE = 2e-3
PLAIN = tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT_PAIRS)


@dataclass(frozen=True, slots=True)
class Looked:
    """ThingPictures as input of the head.

    features: float16, at three strides. number: object, or -1. images: uint8[n, h, w, 3], for crops; or None.
    """

    features: tuple[Tensor, ...]
    uv: Tensor  # (n, 6, 2)
    number: Tensor  # (n, 6)
    images: Tensor | None = None


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """vectors: float32[objects, TEXTS + ERRORS, t]. intents: of each. senseless: float32[m, t]."""

    vectors: Tensor
    intents: Tensor
    senseless: Tensor
    numbers: Mapping[str, int]


@torch.no_grad()
def features_of(images: np.ndarray, batch: int = 16) -> tuple[Tensor, ...]:
    """float16 features of uint8[n, h, w, 3] by the frozen trunk."""
    parts = []
    for start in track(range(0, len(images), batch), "features"):
        parts.append([f.half() for f in encoders.features(images[start : start + batch])])
    return tuple(torch.cat(level) for level in zip(*parts, strict=True))


def make_texts(web: WebPictures, seed: int = 0) -> EncodedTexts:
    """Encoded sentences about every object that training may name, and senseless ones."""
    rng = np.random.default_rng([seed, 11])
    names = {c.name: names_of(c) for c in web.concepts if c.role != "nowhere"}
    said, intents = [], []
    for every in names.values():
        texts = sentences_about(every, rng, TEXTS)
        texts += sentences_with_errors(every["en"], rng, ERRORS)
        said += [text for text, _ in texts]
        intents += [intent for _, intent in texts]
    for colour, shape in PLAIN:
        texts = sentences_about({"en": f"{colour} {shape}"}, rng, TEXTS)
        texts += sentences_with_errors(f"{colour} {shape}", rng, ERRORS)
        for text, intent in texts:
            word = SHAPE_WORDS[shape][rng.integers(2)] if rng.random() < 0.3 else shape
            said.append(re.sub(rf"\b{shape}\b", word, text))
            intents.append(intent)
    for digit in range(len(DIGITS)):
        texts = sentences_about_digit(digit, rng, TEXTS + ERRORS)
        said += [text for text, _ in texts]
        intents += [intent for _, intent in texts]
    vectors = encoded(said).unflatten(0, (-1, TEXTS + ERRORS))
    return EncodedTexts(
        vectors,
        torch.tensor(intents).unflatten(0, (-1, TEXTS + ERRORS)),
        encoded(list(SENSELESS)),
        numbers_of(web),
    )


def numbers_of(web: WebPictures) -> dict[str, int]:
    """Number of every object that training may name, plain objects and digits last."""
    names = dict.fromkeys(c.name for c in web.concepts if c.role != "nowhere")
    plain = (f"{c} {s}" for c, s in PLAIN)
    return {name: i for i, name in enumerate((*names, *plain, *DIGITS))}


def make_examples(
    pictures: ThingPictures, number_of: Mapping[str, int], *, images: bool = False
) -> Looked:
    """ThingPictures with the numbers of their objects, and with the images if they are needed later."""
    numbers = [[number_of.get(name, -1) for name in row] for row in pictures.names]
    return Looked(
        features_of(pictures.images),
        torch.from_numpy(pictures.uv),
        torch.tensor(numbers),
        torch.from_numpy(pictures.images) if images else None,
    )


def fresh(config: WideConfig, texts: EncodedTexts) -> WidePointing:
    """An untrained head with the mean of all sentence vectors."""
    head = WidePointing(config)
    head.mean.copy_(texts.vectors.flatten(0, 1).mean(0))
    return head


def train(
    head: WidePointing, sets: list[Looked], texts: EncodedTexts, *, steps: int, seed: int
) -> list[dict[str, float]]:
    """Train in place on equal parts of sets; returns the losses of every fiftieth step."""
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1)
    told = []
    head.train()
    for step in track(range(steps), "meaning"):
        rng = np.random.default_rng([seed, step])
        part = BATCH // len(sets)
        drawn = [_draw(one, texts, rng, part) for one in sets]
        parts = losses(head, drawn, texts, rng)
        loss = sum(parts.values(), torch.zeros(()))
        take_step(loss, optimiser, schedule, clip=head.parameters())
        if step % 50 == 0 or step == steps - 1:
            told.append({"step": step} | {k: round(v.item(), 4) for k, v in parts.items()})
            print(told[-1], flush=True)
    head.eval()
    return told


@dataclass(frozen=True, slots=True)
class _Drawn:
    features: tuple[Tensor, ...]
    uv: Tensor
    number: Tensor
    text: Tensor  # (b, 6 + absent, t)
    absent: Tensor  # (b, 6 + absent): not in the image


def _draw(examples: Looked, texts: EncodedTexts, rng: np.random.Generator, count: int) -> _Drawn:
    index = torch.from_numpy(rng.integers(0, len(examples.uv), count))
    number = examples.number[index]
    others = torch.from_numpy(rng.integers(0, len(texts.vectors), (count, MOST // 2)))
    asked = torch.cat((number, others), 1)
    which = torch.from_numpy(rng.integers(0, texts.vectors.shape[1], tuple(asked.shape)))
    absent = torch.zeros_like(asked, dtype=torch.bool)
    absent[:, MOST:] = (others[:, :, None] != number[:, None]).all(-1)
    return _Drawn(
        tuple(level[index].float() for level in examples.features),
        examples.uv[index], number, texts.vectors[asked.clamp(min=0), which], absent,
    )  # fmt: skip


def losses(
    head: WidePointing, drawn: list[_Drawn], texts: EncodedTexts, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Losses of attention, of names against each other, of presence, of intent."""
    features = tuple(torch.cat(level) for level in zip(*(d.features for d in drawn), strict=True))
    uv, number, text, absent = (
        torch.cat([getattr(d, k) for d in drawn]) for k in ("uv", "number", "text", "absent")
    )
    patches = head.keys(features)
    seen: Wide = head.point(patches, text)
    known = number >= 0
    goal = (-(head.grid - uv[:, :, None].nan_to_num()).square().sum(-1) / (2 * SIGMA**2)).softmax(
        -1
    )
    heat = -(goal * seen.heat[:, :MOST].log_softmax(-1)).sum(-1)[known].mean()
    # The key at each location against the names of all objects, each in one of its texts.
    keys = torch.einsum("bqp,bpk->bqk", goal, patches)[known]
    every = torch.arange(len(texts.vectors))
    queries = head.queries(
        texts.vectors[every, torch.from_numpy(rng.integers(0, texts.vectors.shape[1], len(every)))]
    )
    logits = F.normalize(keys, dim=-1) @ queries.T * head.sharpness.exp()
    names = F.cross_entropy(logits, number[known])
    there = torch.cat((known, torch.zeros_like(absent[:, MOST:])), 1)
    told = there | absent
    score = F.binary_cross_entropy_with_logits(seen.score[told], there[told].float())
    which = (
        torch.from_numpy(rng.integers(0, len(texts.vectors), 64)),
        torch.from_numpy(rng.integers(0, texts.vectors.shape[1], 64)),
    )
    senseless = texts.senseless[torch.from_numpy(rng.integers(0, len(texts.senseless), 24))]
    meant = torch.cat((texts.intents[which], torch.zeros(24, dtype=torch.long)))
    intent = F.cross_entropy(head.intents(torch.cat((texts.vectors[which], senseless))), meant)
    return {"heat": heat, "names": 0.5 * names, "there": 0.3 * score, "intent": 0.3 * intent}


def encoded(said: list[str]) -> Tensor:
    """float32[n, t]: their vectors."""
    parts = [
        encoders.sentence_vectors(tuple(said[i : i + 64]))
        for i in track(range(0, len(said), 64), "sentences")
    ]
    return torch.cat(parts)
