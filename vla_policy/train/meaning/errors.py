"""Names said otherwise, learned from text alone: misspelt or by another word they get the query of the name, all other queries stay."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning.learn import TEXTS, EncodedTexts, encoded
from vla_policy.train.meaning.words import sentences_about
from vla_policy.train.optimiser import take_step

NEAR = 0.35  # least cosine between the vectors of a name and of another word for it
SAID = 4  # texts with each other word
RATE, BATCH = 1e-3, 256
KEPT = 4.0  # weight of what must stay


@dataclass(frozen=True, slots=True)
class OtherWords:
    """vectors: float32[n, SAID, t] of texts with another word for a thing. intents: int[n, SAID]. number: int[n], of the thing."""

    vectors: Tensor
    intents: Tensor
    number: Tensor


def other_texts(
    words: Mapping[str, Sequence[str]], numbers: Mapping[str, int], seed: int = 0
) -> OtherWords:
    """words: others for each name; those that are far from it are left out."""
    pairs = [(name, word) for name, some in words.items() for word in some]
    names, others = (F.normalize(encoded(list(part)), dim=-1) for part in zip(*pairs, strict=True))
    near = ((names * others).sum(-1) >= NEAR).tolist()
    kept = [pair for pair, is_near in zip(pairs, near, strict=True) if is_near]
    rng = np.random.default_rng([seed, 67])
    said = [text for _, word in kept for text in sentences_about({"en": word}, rng, SAID)]
    return OtherWords(
        encoded([text for text, _ in said]).unflatten(0, (-1, SAID)),
        torch.tensor([intent for _, intent in said]).unflatten(0, (-1, SAID)),
        torch.tensor([numbers[name] for name, _ in kept]),
    )


def train(
    head: WidePointing,
    texts: EncodedTexts,
    words: OtherWords,
    *,
    known: int,
    steps: int,
    seed: int,
) -> list[float]:
    """Train queries and intents of head in place; returns the losses of every hundredth step.

    known: how many of the texts' names the head knows; the errors of the others are not used.
    """
    before = copy.deepcopy(head).eval().requires_grad_(requires_grad=False)
    torch.manual_seed(seed)
    learned = [*head.query.parameters(), *head.more.parameters(), *head.intent.parameters()]
    optimiser = torch.optim.AdamW(learned, RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1)
    clean, wrong = texts.vectors[:known, :TEXTS], texts.vectors[:known, TEXTS:]
    goal, told = before.known[:known], []
    head.train()
    for step in range(steps):
        rng = np.random.default_rng([seed, step, 59])
        name = torch.from_numpy(rng.integers(0, known, BATCH))
        right = clean[name, torch.from_numpy(rng.integers(0, clean.shape[1], BATCH))]
        which = torch.from_numpy(rng.integers(0, wrong.shape[1], BATCH))
        other = torch.from_numpy(rng.integers(0, len(words.number), BATCH // 2))
        text = torch.from_numpy(rng.integers(0, SAID, BATCH // 2))
        otherwise = torch.cat((wrong[name, which], words.vectors[other, text]))
        meant = torch.cat((name, words.number[other]))
        queries = head.queries(otherwise)
        near = 1 - (queries * goal[meant]).sum(-1).mean()
        named = F.cross_entropy(queries @ goal.T * head.sharpness.detach().exp(), meant)
        said = torch.cat((right, texts.senseless))
        kept = 1 - (head.queries(said) * before.queries(said)).sum(-1).mean()
        wanted = torch.cat(
            (texts.intents[:known, TEXTS:][name, which], words.intents[other, text])
        )
        intent = F.cross_entropy(head.intents(otherwise), wanted)
        same = F.kl_div(head.intents(said).log_softmax(-1), before.intents(said).log_softmax(-1), log_target=True, reduction="batchmean")  # fmt: skip
        loss = near + 0.2 * named + KEPT * (kept + 0.3 * same) + 0.3 * intent
        take_step(loss, optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            told.append(loss.item())
            print(f"errors {step}: near {near.item():.3f}, named {named.item():.3f}, kept {kept.item():.4f}, intent {intent.item():.3f}", flush=True)  # fmt: skip
    head.eval()
    return told
