"""Training of what text alone tells (models/reader.py): figures and their sums, and what is unclear. No images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models.reader import FIGURES
from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning.learn import EncodedTexts, encoded
from vla_policy.train.meaning.words import (
    NEITHER,
    NOT_SUMS,
    ONE_THING,
    UNNAMED,
    contrast,
    pairs,
    sums,
)
from vla_policy.train.optimiser import take_step

SUMS, NO_SUMS, UNCLEAR, ONE = 4800, 1600, 1200, 400  # texts
UNCLEAR_KINDS = (
    0.6,
    0.2,
)  # shares that say what is not meant, that name two things; the others name none
RATE, NUMBER_RATE, BATCH = 2e-3, 2e-2, 256


@dataclass(frozen=True, slots=True)
class ReadTexts:
    """Texts about figures, and unclear ones.

    one: float32[l, t], that name one thing, in words that are also those of figures. sums: float32[n, t]; pairs: int[n, 2], their
    figures, the smaller first. not_sums, named: the same of texts with two figures and no sum, of all pairs; they are unclear.
    unclear: float32[m, t].
    """

    one: Tensor
    sums: Tensor
    pairs: Tensor
    not_sums: Tensor
    named: Tensor
    unclear: Tensor


def make_texts(
    names: Sequence[str], seed: int = 0, *, but: Sequence[tuple[int, int]] = ()
) -> ReadTexts:
    """names: of things. but: pairs whose sum is left out besides those held out."""
    rng = np.random.default_rng([seed, 43])
    said = sums(rng, SUMS, [pair for pair in pairs(held_out=False) if pair not in but])
    other = sums(rng, NO_SUMS, pairs(held_out=False) + pairs(held_out=True), NOT_SUMS)
    unclear = []
    for _ in range(UNCLEAR):
        x, y = (f"the {names[int(i)]}" for i in rng.choice(len(names), 2, replace=False))
        kind = rng.random()
        if kind < UNCLEAR_KINDS[0]:
            unclear.append(contrast(x, y, rng))
        elif kind < sum(UNCLEAR_KINDS):
            unclear.append(NEITHER[rng.integers(len(NEITHER))].format(x=x, y=y))
        else:
            unclear.append(UNNAMED[rng.integers(len(UNNAMED))])
    one = [
        ONE_THING[rng.integers(len(ONE_THING))].format(
            x=f"the {names[int(rng.integers(len(names)))]}"
        )
        for _ in range(ONE)
    ]
    return ReadTexts(
        encoded(one),
        encoded([text for text, _ in said]),
        torch.tensor([pair for _, pair in said]),
        encoded([text for text, _ in other]),
        torch.tensor([pair for _, pair in other]),
        encoded(unclear),
    )


def train(
    head: WidePointing, texts: EncodedTexts, read: ReadTexts, *, steps: int, seed: int
) -> list[float]:
    """Train head.reader in place; the figures 0 to 9 are the last names of texts. Returns the losses of every hundredth step."""
    if head.reader is None:
        raise ValueError("head: got one that reads nothing")
    reader = head.reader
    torch.manual_seed(seed)
    learned = [*reader.readings.parameters(), *reader.unclear.parameters()]
    parts = (
        {"params": learned, "weight_decay": 0.1},
        {"params": reader.number.parameters(), "weight_decay": 0.0},
    )
    rates = [RATE, NUMBER_RATE]
    optimiser = torch.optim.AdamW(parts, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, steps, pct_start=0.1)
    with torch.no_grad():
        things = torch.cat((texts.vectors[:-FIGURES].flatten(0, 1), read.one.repeat(5, 1)))
        digits = texts.vectors[-FIGURES:].flatten(0, 1)
        sets = [
            head.centred(some)
            for some in (read.sums, digits, read.not_sums, things, read.unclear, texts.senseless)
        ]
    digit = torch.arange(FIGURES).repeat_interleave(texts.vectors.shape[1])
    shares = (BATCH // 2, BATCH // 2, BATCH // 4, BATCH, BATCH // 2, BATCH // 8)
    summed, single, not_summed = shares[:3]
    told = []
    reader.train()
    for step in range(steps):
        rng = np.random.default_rng([seed, step, 47])
        drawn = [
            torch.from_numpy(rng.integers(0, len(some), count))
            for some, count in zip(sets, shares, strict=True)
        ]
        x = torch.cat([some[index] for some, index in zip(sets, drawn, strict=True)])
        alone = torch.stack((digit[drawn[1]], torch.full((single,), FIGURES)), 1)
        none = torch.full((len(x) - sum(shares[:3]), 2), FIGURES)
        goal = torch.cat((read.pairs[drawn[0]], alone, read.named[drawn[2]], none))
        logits = reader.read(x)
        readings = F.cross_entropy(logits.flatten(0, 1), goal.flatten())
        figured = summed + single
        number = torch.cat((read.pairs[drawn[0]].sum(1), digit[drawn[1]])).float()
        value = F.smooth_l1_loss(reader.value(logits[:figured]), number)
        unclear = torch.zeros(len(x))
        unclear[figured : figured + not_summed] = 1.0
        unclear[sum(shares[:4]) : sum(shares[:5])] = 1.0
        clear = F.binary_cross_entropy_with_logits(reader.unclear(x)[:, 0], unclear)
        loss = readings + value + clear
        take_step(loss, optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            told.append(loss.item())
            print(f"reader {step}: readings {readings.item():.3f}, value {value.item():.3f}, unclear {clear.item():.3f}", flush=True)  # fmt: skip
    reader.eval()
    return told
