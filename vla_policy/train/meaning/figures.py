"""How the figures look: ten vectors in place of sentences, and a small head of close crops, before a head that stays as it is.

The vectors are textual inversion (arXiv:2208.01618). Nothing else changes, so what is pointed at otherwise is not forgotten.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from vla_policy.models.reader import FIGURES
from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning.crops import Cropped
from vla_policy.train.meaning.learn import SIGMA, EncodedTexts, Looked
from vla_policy.train.optimiser import take_step

RATE, CROP_RATE, DECAY = 0.01, 2e-3, 0.3
IMAGES, CROPS, OTHERS = 12, 192, 64  # of a step; others: crops without a figure


def train(
    head: WidePointing,
    collages: Looked,
    crops: Cropped,
    texts: EncodedTexts,
    *,
    steps: int,
    seed: int,
) -> list[float]:
    """Train head.reader.says, head.figures and, as names to compare with, the last rows of head.known.

    The figures 0 to 9 are the last numbers of collages and crops; crops of other things have -1. Returns the losses of every fiftieth
    step.
    """
    if head.reader is None or head.crops is None or head.figures is None:
        raise ValueError("head: got one that reads nothing, or without crops")
    torch.manual_seed(seed)
    head.eval().requires_grad_(requires_grad=False)
    head.figures.train().requires_grad_()
    first = len(texts.vectors) - FIGURES
    with_figures = torch.nonzero((collages.number >= first).any(1))[:, 0]
    with torch.no_grad():
        keys = torch.cat(
            [
                head.keys(tuple(level[i].float() for level in collages.features))
                for i in with_figures.split(32)
            ]
        )
    number, uv = collages.number[with_figures], collages.uv[with_figures]
    says = head.reader.says
    says.data.copy_(texts.vectors[first:].mean(1))
    says.requires_grad_()
    optimiser = torch.optim.AdamW(
        [
            {"params": [says], "lr": RATE, "weight_decay": 0.0},
            {"params": head.figures.parameters(), "lr": CROP_RATE, "weight_decay": DECAY},
        ]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [RATE, CROP_RATE], steps, pct_start=0.1
    )
    shown, none = (torch.nonzero(which)[:, 0] for which in (crops.number >= 0, crops.number < 0))
    others, told = head.known[:first], []
    for step in range(steps):
        rng = np.random.default_rng([seed, step, 53])
        index = torch.from_numpy(rng.integers(0, len(keys), IMAGES))
        figures = head.queries(says)
        image, place = torch.nonzero(number[index] >= first, as_tuple=True)
        which = number[index][image, place] - first
        cosine = torch.einsum("nk,npk->np", figures[which], keys[index][image])
        off = (head.grid - uv[index][image, place][:, None]).square().sum(-1)
        goal = (-off / (2 * SIGMA**2)).softmax(-1)
        heat = -(goal * (cosine * head.sharpness.exp()).log_softmax(-1)).sum(-1).mean()
        drawn = torch.cat(
            (
                shown[torch.from_numpy(rng.integers(0, len(shown), CROPS))],
                none[torch.from_numpy(rng.integers(0, len(none), OTHERS))],
            )
        )
        seen = head.figures(crops.pooled[drawn].float())
        logits = head.crops.logits(seen, torch.cat((others, figures)))
        wanted = torch.where(crops.number[drawn] < 0, len(texts.vectors), crops.number[drawn])
        named = F.cross_entropy(logits, wanted)
        loss = heat + named
        take_step(loss, optimiser, schedule)
        if step % 50 == 0 or step == steps - 1:
            right = (logits.argmax(-1) == wanted).float().mean()
            told.append(loss.item())
            print(f"figures {step}: heat {heat.item():.3f}, crops {named.item():.3f}, right {right:.2f}", flush=True)  # fmt: skip
    head.eval().requires_grad_()
    with torch.no_grad():
        head.known[first:] = head.queries(says)
    return told
