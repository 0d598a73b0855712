"""The second look learns one more colour or shape, and keeps its answers about everything else.

Positive examples are frames of the demonstrations and, for a colour, objects of base scenes painted in
it (painted.py), so that it is learned for every shape. Base scenes are the negative examples: there
every location keeps its earlier answer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_policy.models.closer import CROP_PX, Closer, busiest, crops, pixels
from vla_policy.models.naming import STRIDE, Naming
from vla_policy.models.pointing import PointingTower
from vla_policy.train.optimiser import take_step
from vla_policy.train.tiny.closer import MARGIN_PX, beside
from vla_policy.train.tiny.pictures import to_images
from vla_policy.types import Array, required

KINDS = ("colour", "shape")
ON, OFF = 0.03, 0.075  # of the image side, from the centre of the object: on it, and beside it
IMAGES = 12  # of new objects, and as many of base scenes, in a step of the first look
CROPS = 64  # likewise of the second look; twice as many of base scenes
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class SeeSteps:
    """Training steps of each of the two looks."""

    steps: int = 600
    rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Images of new objects, one in each. after: uint8[n, h, w, 3]; before: without it, or the same image.

    uv: float64[n, 2], centres. colour, shape: int64[n], or UNKNOWN.
    """

    before: Array
    after: Array
    uv: Array
    colour: Array
    shape: Array


def joined(parts: Iterable[Examples]) -> Examples:
    """All examples as one."""
    parts = tuple(parts)
    return Examples(
        *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Examples))
    )


def learn_to_see(
    tower: PointingTower, naming: Naming, new: Examples, base: Array, options: SeeSteps
) -> Naming:
    """naming, which already has the new class, after training it. base: uint8[m, h, w, 3], front images without it."""
    learned = copy.deepcopy(naming).requires_grad_(True)
    _learn_places(tower, naming, learned, new, base, options)
    if learned.closer is not None:
        places = np.concatenate((_places(tower, naming, base), _places(tower, learned, base)), 1)
        old = required(naming.closer, "naming: second stage")
        _learn_crops(old, learned.closer, new, _cut(base, places), options)
    return learned.eval()


def _learn_places(
    tower: PointingTower, before: Naming, learned: Naming, new: Examples, base: Array,
    options: SeeSteps,
) -> None:  # fmt: skip
    """The first look: the class of each location of an image."""
    own = [p for n, p in learned.named_parameters() if not n.startswith("closer.")]
    optimiser, schedule = _optimiser(own, options)
    for step in range(options.steps):
        rng = np.random.default_rng((options.seed, 1, step))
        i, j = rng.integers(0, len(new.uv), IMAGES), rng.integers(0, len(base), IMAGES)
        light = int(rng.integers(2**31))
        was, shown = (
            to_images(np.concatenate((x[i], base[j])), np.random.default_rng(light))
            for x in (new.before, new.after)
        )
        with torch.no_grad():
            old = [x.flatten(2).softmax(1) for x in before(was, tower.front.stem(was))]
            features = tower.front.stem(shown)
        now = [x.flatten(2) for x in learned(shown, features)]
        away = _away(new.uv[i], shown.shape[-1] // STRIDE)
        none = torch.zeros_like(away, dtype=torch.bool)
        on, other = torch.cat((away < ON, none)), torch.cat((away > OFF, ~none))
        parts = []
        for goal, logits, kind in zip(old, now, KINDS, strict=True):
            number = torch.from_numpy(getattr(new, kind)[i])
            known = torch.cat((number >= 0, torch.zeros(IMAGES, dtype=torch.bool)))
            there = F.one_hot(number.clamp(min=0), goal.shape[1]).float()[:, :, None]
            there = torch.cat((there, torch.zeros_like(there)))
            entropy = -(torch.where(on[:, None], there, goal) * logits.log_softmax(1)).sum(1)
            parts += [_mean(entropy, on & known[:, None]), _mean(entropy, other)]
        take_step(torch.stack(parts).sum(), optimiser, schedule)


def _learn_crops(
    before: Closer, learned: Closer, new: Examples, base: Array, options: SeeSteps
) -> None:
    """The second look: the class of the object at the centre of a crop. base: crops with a margin."""
    own = _cut(new.after, new.uv[:, None])
    optimiser, schedule = _optimiser(list(learned.parameters()), options)
    for step in range(options.steps):
        rng = np.random.default_rng((options.seed, 2, step))
        i, j = rng.integers(0, len(own), CROPS), rng.integers(0, len(base), 2 * CROPS)
        picture = beside(np.concatenate((own[i], base[j])), rng)
        with torch.no_grad():
            old = [x.softmax(-1) for x in before(picture)]
        parts = []
        for goal, logits, kind in zip(old, learned(picture), KINDS, strict=True):
            number = torch.from_numpy(getattr(new, kind)[i])
            there = F.one_hot(number.clamp(min=0), goal.shape[1]).float()
            entropy = -(torch.cat((there, goal[CROPS:])) * logits.log_softmax(-1)).sum(-1)
            parts += [_mean(entropy[:CROPS], number >= 0), entropy[CROPS:].mean()]
        take_step(torch.stack(parts).sum(), optimiser, schedule)


def _places(tower: PointingTower, naming: Naming, front: Array) -> Array:
    """float64[n, p, 2]: locations of objects, by the first look."""
    found = []
    with torch.no_grad():
        for start in range(0, len(front), 50):
            images = to_images(front[start : start + 50], None)
            colour, shape = (x.softmax(1) for x in naming(images, tower.front.stem(images)))
            found.append(busiest((1 - colour[:, -1]) * (1 - shape[:, -1])))
    places: Array = torch.cat(found).double().numpy()
    return places


def _cut(front: Array, uv: Array) -> Array:
    """uint8[n p, c, c, 3]: crops with a margin, around locations float64[n, p, 2]."""
    side = CROP_PX + 2 * MARGIN_PX
    found = []
    for start in range(0, len(front), 200):
        images = torch.from_numpy(front[start : start + 200]).permute(0, 3, 1, 2).float()
        at = pixels(torch.from_numpy(uv[start : start + 200]), images.shape[-1])
        rgb = crops(images, at, side).clamp(min=0)  # black is 0 here
        found.append(rgb.flatten(0, 1).permute(0, 2, 3, 1).byte().numpy())
    return np.concatenate(found)


def _away(uv: Array, side: int) -> Tensor:
    """float32[n, p]: distance of each location from a given one, of the image side."""
    centre = (torch.arange(side) + 0.5) / side
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    at = torch.stack((u, v), -1).reshape(-1, 2)
    return torch.cdist(torch.from_numpy(uv).float(), at)


def _optimiser(
    parameters: list[nn.Parameter], options: SeeSteps
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(parameters, options.rate, weight_decay=0.0)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.rate, total_steps=options.steps
    )


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    mean: Tensor = (values * counted).sum() / counted.sum().clamp(min=1)
    return mean
