"""The second look learns to tell one more colour or shape: the thing of a few demonstrations, in many views.

Only the weights of the new class learn; what the other classes say to each other stays as it was. Pictures of base scenes teach
what it is not: there every place keeps the answer that it had.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_policy.families.tiny import tiny
from vla_policy.models.closer import CROP_PX, busiest, crops, pixels
from vla_policy.models.naming import STRIDE, Naming
from vla_policy.models.pointing import PointingTower
from vla_policy.train.tiny.closer import MARGIN_PX, beside
from vla_policy.train.tiny.demonstrated_thing import ShownThing
from vla_policy.train.tiny.new_word import NewWord
from vla_policy.train.tiny.pictures import to_images
from vla_policy.train.tiny.point_at_word import only_row
from vla_policy.types import Array

ON, OFF = 0.03, 0.075  # of the image side, from the middle of the thing: on it, and beside it


@dataclass(frozen=True, slots=True)
class SeeSteps:
    """steps: of each of the two looks. free: parameters beside those of the new class that learn, too."""

    steps: int = 400
    batch: int = 128
    rate: float = 2e-2
    free: tuple[str, ...] = ()
    free_rate: float = 1e-3
    seed: int = 0


def learn_to_see(
    tower: PointingTower,
    naming: Naming,
    new: NewWord,
    shown: ShownThing,
    uv: Array,
    base: Array,
    things: Mapping[str, Array],
    options: SeeSteps,
) -> Naming:
    """naming, which has the class already, with the class learned.

    uv: float64[n, 2], the thing in each front image. base: uint8[m, h, w, 3], front images without it.
    things: known classes of the thing, by the other kinds, int64[n], -1 where not known.
    """
    learned = copy.deepcopy(naming)
    free = np.flatnonzero(shown.free & ((uv > 0) & (uv < 1)).all(1))
    if not len(free):
        raise ValueError("demonstrations: got no frame in which the thing lies free, expected one")
    side = base.shape[1]
    front = np.stack([tiny.fit_square(shown.front[i], side) for i in free])
    places = _Seen(front, uv[free], {k: v[free] for k, v in things.items()})
    _learn_places(tower, naming, learned, new, places, base, options)
    if learned.closer is not None:
        _learn_crops(tower, naming, learned, new, places, base, options)
    return learned.eval().requires_grad_(True)


@dataclass(frozen=True, slots=True)
class _Seen:
    """front: uint8[n, h, w, 3]. uv: float64[n, 2]. things: as in learn_to_see."""

    front: Array
    uv: Array
    things: Mapping[str, Array]


def _learn_places(
    tower: PointingTower, before: Naming, learned: Naming, new: NewWord, seen: _Seen, base: Array,
    options: SeeSteps,
) -> None:  # fmt: skip
    """The first look: the class of each place of an image."""
    parameters = _own(learned, new, options, ("body", "colour", "shape"))
    optimiser, schedule = _optimiser(parameters, options, options.steps)
    half = max(4, options.batch // 16)
    for step in range(options.steps):
        rng = np.random.default_rng((options.seed, 1, step))
        i, j = rng.integers(0, len(seen.front), half), rng.integers(0, len(base), half)
        images = to_images(np.concatenate((seen.front[i], base[j])), rng)
        with torch.no_grad():
            features = tower.front.stem(images)
            old = [x.flatten(2).softmax(1) for x in before(images, features)]
        now = [x.flatten(2) for x in learned(images, features)]
        away = _away(seen.uv[i], images.shape[-1] // STRIDE)  # (half, p)
        on = F.pad(away < ON, (0, 0, 0, half))
        other = F.pad(away > OFF, (0, 0, 0, half), value=True)
        loss = torch.zeros(())
        for kind, was, logits in zip(("colour", "shape"), old, now, strict=True):
            goal = was
            if kind == new.kind:
                own = F.one_hot(torch.tensor(new.number), was.shape[1]).float()
                goal = torch.where(on[:, None], own[None, :, None], was)
            entropy = -(goal * logits.log_softmax(1)).sum(1)
            counted = on if kind == new.kind else torch.zeros_like(on)
            loss = loss + _mean(entropy, counted) + _mean(entropy, other)
        _step(loss, optimiser, schedule, [p for p, freely in parameters if not freely], new.number)


def _learn_crops(
    tower: PointingTower, before: Naming, learned: Naming, new: NewWord, seen: _Seen, base: Array,
    options: SeeSteps,
) -> None:  # fmt: skip
    """The second look: the class of what is in the middle of a crop."""
    old, closer = before.closer, learned.closer
    if old is None or closer is None:
        raise ValueError("naming: got no second look, expected one")
    own = _cut(seen.front, seen.uv[:, None])
    other = _cut(base, _places(tower, before, base))
    # In the demonstrations themselves: what stands elsewhere, by the answers that it had.
    elsewhere = _places(tower, before, seen.front)
    apart = np.linalg.norm(elsewhere - seen.uv[:, None], axis=-1).ravel() > OFF
    beside_it = _cut(seen.front, elsewhere)[apart]
    numbers = {k: v for k, v in seen.things.items() if k != new.kind}
    parameters = _own(learned, new, options, ("closer",))
    optimiser, schedule = _optimiser(parameters, options, options.steps)
    third = options.batch // 3
    for step in range(options.steps):
        rng = np.random.default_rng((options.seed, 2, step))
        i = rng.integers(0, len(own), third)
        rest = [other[rng.integers(0, len(other), third)]]
        if len(beside_it):
            rest.append(beside_it[rng.integers(0, len(beside_it), third)])
        picture = beside(np.concatenate((own[i], *rest)), rng)
        closer.eval()
        now = dict(zip(("colour", "shape"), closer(picture), strict=True))
        with torch.no_grad():
            was = {k: x.softmax(-1) for k, x in zip(("colour", "shape"), old(picture), strict=True)}
        loss = torch.zeros(())
        for kind, logits in now.items():
            goal = was[kind].clone()
            counts = torch.ones(len(picture))
            if kind == new.kind:
                goal[:third] = F.one_hot(torch.tensor(new.number), goal.shape[1]).float()
            elif kind in numbers:
                known = torch.from_numpy(numbers[kind][i])
                sure = known >= 0
                goal[:third][sure] = F.one_hot(known[sure], goal.shape[1]).float()
                counts[:third] = sure.float()
            else:
                counts[:third] = 0.0
            entropy = -(goal * logits.log_softmax(-1)).sum(-1) * counts
            loss = loss + entropy[:third].mean() + entropy[third:].mean()
        _step(loss, optimiser, schedule, [p for p, freely in parameters if not freely], new.number)


def _places(tower: PointingTower, naming: Naming, front: Array) -> Array:
    """float64[n, p, 2]: where something stands, by the first look."""
    found = []
    with torch.no_grad():
        for start in range(0, len(front), 50):
            images = to_images(front[start : start + 50], None)
            colour, shape = (x.softmax(1) for x in naming(images, tower.front.stem(images)))
            found.append(busiest((1 - colour[:, -1]) * (1 - shape[:, -1])))
    return torch.cat(found).double().numpy()


def _cut(front: Array, uv: Array) -> Array:
    """uint8[n p, c, c, 3]: crops with a margin, around places float64[n, p, 2]."""
    side = CROP_PX + 2 * MARGIN_PX
    images = torch.from_numpy(front).permute(0, 3, 1, 2).float()
    rgb = crops(images, pixels(torch.from_numpy(uv), images.shape[-1]), side).clamp(min=0)
    cut: Array = rgb.flatten(0, 1).permute(0, 2, 3, 1).byte().numpy()
    return cut


def _away(uv: Array, side: int) -> Tensor:
    """float32[n, p]: of each location from a place, of the image side."""
    centre = (torch.arange(side) + 0.5) / side
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    at = torch.stack((u, v), -1).reshape(-1, 2)
    return torch.cdist(torch.from_numpy(uv).float(), at)


def _own(
    naming: Naming, new: NewWord, options: SeeSteps, rooms: tuple[str, ...]
) -> list[tuple[nn.Parameter, bool]]:
    """The parameters that learn, and whether freely; of the layers of the new class only its row."""
    found: list[tuple[nn.Parameter, bool]] = []
    for name, parameter in naming.named_parameters():
        parameter.requires_grad_(False)
        if name.split(".")[0] not in rooms:
            continue
        if any(name.startswith(start) for start in options.free):
            parameter.requires_grad_(True)
            found.append((parameter, True))
        elif name.split(".")[-2] == new.kind:
            parameter.requires_grad_(True)
            found.append((parameter, False))
    return found


def _optimiser(
    parameters: list[tuple[nn.Parameter, bool]], options: SeeSteps, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    rates = [options.free_rate if freely else options.rate for _, freely in parameters]
    groups = [{"params": [p], "lr": r} for (p, _), r in zip(parameters, rates, strict=True)]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps)


def _step(
    loss: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rows: Sequence[nn.Parameter],
    number: int,
) -> None:
    """rows: parameters of which only row `number` learns."""
    optimiser.zero_grad()
    loss.backward()
    for parameter in rows:
        only_row(parameter, number)
    optimiser.step()
    schedule.step()


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    mean: Tensor = (values * counted).sum() / counted.sum().clamp(min=1)
    return mean
