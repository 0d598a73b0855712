"""Distance of a pointing tower's answers from its earlier ones, on base scenes.

The language model reads the tokens of models/pointing.py: a position on three scales, its confidence, and features of
the object. It is not trained, so its input has to stay in the distribution that it knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import Frames
from vla_policy.families.tiny.pointing_training import relit
from vla_policy.models import tokenizer
from vla_policy.models.pointing import PointedPlaces, PointingTower, tokens
from vla_policy.types import Array

TOLD = 0.2  # weight of tokens relative to positions


def kept(
    tower: PointingTower, teacher: PointingTower, checkpoint: Checkpoint, base: Frames,
    rng: np.random.Generator, count: int,
) -> Tensor:  # fmt: skip
    """Distance of the answers about base scenes from the teacher's: positions per 10 cm, wrist per 5 cm, attention, tokens."""
    i = rng.integers(0, len(base), count)
    front, wrist = lit(base.images(i), rng.integers(2**62, size=count))
    text = torch.stack([encoded(checkpoint, base.texts[k]) for k in i])
    text = text[..., : int((text != 0).sum(-1).max())]
    tool = tools_of(base, i)
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
    said = told(now.found, old.found, tool.repeat_interleave(text.shape[1], 0))
    return places + closer + heat.mean() + wrist_heat.mean() + 0.05 * view + TOLD * said.mean()


def told(now: PointedPlaces, old: PointedPlaces, tool: Tensor) -> Tensor:
    """float32[n]: distance of the tokens of n answers. tool: float32[n, 4]."""
    away = F.smooth_l1_loss(tokens(now, tool), tokens(old, tool), beta=0.1, reduction="none")
    each: Tensor = away.sum(-1).mean(-1)
    return each


def lit(images: Sequence[Array], seeds: Array) -> tuple[Tensor, ...]:
    """Images of several cameras, uint8[n, h, w, 3] each, under random light; equal for equal seeds int64[n]."""
    each = [torch.Generator().manual_seed(int(s)) for s in seeds]
    return tuple(relit(torch.from_numpy(x), each) for x in images)


def tools_of(base: Frames, index: Array) -> Tensor:
    """float32[n, 4]: x y z and the opening of frames."""
    return torch.tensor(base.arrays["state"][index][:, [0, 1, 2, 7]])


def encoded(checkpoint: Checkpoint, sentences: Sequence[str]) -> Tensor:
    """int64[q, s]"""
    room = checkpoint.model.config.max_text
    ids = [tokenizer.encode(checkpoint.tokenizer, tokenizer.clean(s), room) for s in sentences]
    return torch.tensor(ids)


def _divergence(old: Tensor, now: Tensor) -> Tensor:
    """Kullback-Leibler divergence of attention logits [..., p]: [...]."""
    was = old.softmax(-1)
    return (was * (old.log_softmax(-1) - now.log_softmax(-1))).sum(-1)
