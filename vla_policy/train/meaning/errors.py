"""Typing errors, learned from text alone: a name that is misspelt gets the query of the name, and all other queries stay as they were."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F

from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning.learn import TEXTS, EncodedTexts
from vla_policy.train.optimiser import take_step

RATE, BATCH = 1e-3, 256
KEPT = 4.0  # weight of what must stay


def train(
    head: WidePointing, texts: EncodedTexts, *, known: int, steps: int, seed: int
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
        queries = head.queries(wrong[name, which])
        near = 1 - (queries * goal[name]).sum(-1).mean()
        named = F.cross_entropy(queries @ goal.T * head.sharpness.detach().exp(), name)
        said = torch.cat((right, texts.senseless))
        kept = 1 - (head.queries(said) * before.queries(said)).sum(-1).mean()
        intent = F.cross_entropy(head.intents(wrong[name, which]), texts.intents[:known, TEXTS:][name, which])  # fmt: skip
        same = F.kl_div(head.intents(said).log_softmax(-1), before.intents(said).log_softmax(-1), log_target=True, reduction="batchmean")  # fmt: skip
        loss = near + 0.2 * named + KEPT * (kept + 0.3 * same) + 0.3 * intent
        take_step(loss, optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            told.append(loss.item())
            print(f"errors {step}: near {near.item():.3f}, named {named.item():.3f}, kept {kept.item():.4f}, intent {intent.item():.3f}", flush=True)  # fmt: skip
    head.eval()
    return told
