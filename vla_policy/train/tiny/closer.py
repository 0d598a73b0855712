"""Trains the second look (models/closer.py) on crops of rendered images.

A crop has one colour and one shape; every other pair that shares one of them with it counts as a
negative example.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from vla_policy.models.closer import CROP_PX, Closer, busiest, crops, pixels
from vla_policy.models.naming import Naming
from vla_policy.models.pointing import COLOURS, SHAPES, PointingTower
from vla_policy.train.optimiser import take_step
from vla_policy.train.tiny.pictures import Pictures, to_images

MARGIN_PX = 4  # around a training crop, for random shifts
BESIDE_PX = 1.0  # standard deviation of the shifts
ON, OFF = 0.04, 0.07  # of the image side: a crop this near shows the object; this far, background
ELSEWHERE = 2  # random background crops of each image
BATCH = 256
RATE = 3e-3


@dataclass(frozen=True, slots=True)
class Crops:
    """rgb: uint8[n, c, c, 3]. colour, shape: int64[n], the last class for background."""

    rgb: np.ndarray
    colour: np.ndarray
    shape: np.ndarray


def crops_of(pictures: Pictures, middles: np.ndarray) -> Crops:
    """Crops at middles, float64[n, p, 2] of each image, without ambiguous ones."""
    side = CROP_PX + 2 * MARGIN_PX
    found = []
    for start in range(0, len(middles), 500):
        part = slice(start, start + 500)
        images = torch.from_numpy(pictures.front[part]).permute(0, 3, 1, 2).float()
        at = pixels(torch.from_numpy(middles[part]), images.shape[-1])
        # crops() pads with a black that is -1 in [-1, 1]; here black is 0
        rgb = crops(images, at, side).clamp(min=0)
        found.append(rgb.flatten(0, 1).permute(0, 2, 3, 1).byte().numpy())
    things = np.nan_to_num(pictures.uv, nan=9.0)
    away = np.linalg.norm(middles[:, :, None] - things[:, None], axis=-1)
    near, which = away.min(-1).ravel(), away.argmin(-1)
    own = np.arange(len(middles))[:, None]
    on = near < ON
    inside = ((middles > 0) & (middles < 1)).all(-1).ravel()
    used = inside & (on | (near > OFF))
    return Crops(
        np.concatenate(found)[used],
        np.where(on, pictures.colour[own, which].ravel(), COLOURS)[used],
        np.where(on, pictures.shape[own, which].ravel(), SHAPES)[used],
    )


def places_of(tower: PointingTower, naming: Naming, front: np.ndarray) -> np.ndarray:
    """float64[n, p, 2]: positions of objects in each image according to the first stage."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(front), 50):
            images = to_images(front[start : start + 50], None)
            colour, shape = (x.softmax(1) for x in naming(images, tower.front.stem(images)))
            found.append(busiest((1 - colour[:, -1]) * (1 - shape[:, -1])))
    return torch.cat(found).double().numpy()


def train(some: Crops, steps: int, seed: int, begin: Closer | None) -> Closer:
    """A second look with random weights or those of begin, trained."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 5])
    closer = (begin or Closer(COLOURS, SHAPES)).train()
    optimiser = torch.optim.AdamW(closer.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)  # fmt: skip
    said = [0.0, 0.0]
    for step in range(steps):
        index = rng.integers(0, len(some.rgb), BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            answers = closer(beside(some.rgb[index], rng))
        goals = (torch.from_numpy(a[index]).long() for a in (some.colour, some.shape))
        losses = [F.cross_entropy(a.float(), goal) for a, goal in zip(answers, goals, strict=True)]
        take_step(torch.stack(losses).sum(), optimiser, schedule)
        said = [a + loss.item() / 200 for a, loss in zip(said, losses, strict=True)]
        if step % 200 == 199:
            print(f"{step + 1} colour {said[0]:.3f} shape {said[1]:.3f}", flush=True)
            said = [0.0, 0.0]
    return closer.eval()


def beside(rgb: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """float32[n, 3, CROP_PX, CROP_PX] near each crop's middle, some mirrored, in other light."""
    shift = rng.normal(0, BESIDE_PX, (len(rgb), 2)).round().clip(-MARGIN_PX, MARGIN_PX)
    top, left = (shift.astype(int) + MARGIN_PX).T
    along = np.arange(CROP_PX)
    own = np.arange(len(rgb))[:, None, None]
    cut = rgb[own, (top[:, None] + along)[:, :, None], (left[:, None] + along)[:, None]]
    mirrored = rng.random(len(cut)) < 0.5
    cut[mirrored] = cut[mirrored, :, ::-1]
    return to_images(cut, rng)
