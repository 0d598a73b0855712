"""Training of the recognition of crops: pictures of web things on drawn boxes, boxes and plain objects of robot scenes, and none.

The frozen trunk sees each crop once; what the head learns from is kept, so that training it takes seconds. Queries of names
are those that the head points with, not trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from vla_policy.data.web.concepts import TRAINED_STYLES
from vla_policy.data.web.pictures import WebPictures
from vla_policy.models import crops, encoders
from vla_policy.models.wide import WidePointing
from vla_policy.sim.scenes.cards import draw_card
from vla_policy.sim.scenes.scene import Card
from vla_policy.train.meaning.digits import DIGITS, digit_card
from vla_policy.train.meaning.learn import EncodedTexts
from vla_policy.train.meaning.pictures import SIDE_PX, Draw, ThingPictures
from vla_policy.train.optimiser import take_step

NATIVE_PX = round(crops.WINDOW * SIDE_PX)  # side of a crop before it is enlarged
FINER = 4  # how much finer a box is drawn than it is seen
OFF = 0.014  # error of the place around which is cut, of the image side
AWAY = 0.14  # of the image side: so far from all objects nothing is seen
BATCH = {"web": 160, "robot": 64, "nothing": 32}
RATE = 2e-3


@dataclass(frozen=True, slots=True)
class Cropped:
    """pooled: float16[n, f], of crops. number: int[n], of the thing in the middle; -1 for none."""

    pooled: Tensor
    number: Tensor


def web_crops(
    web: WebPictures,
    numbers: Mapping[str, int],
    each: int,
    px: int,
    seed: int,
    window: float = crops.WINDOW,
) -> Cropped:
    """each crops of every thing that training may show in every trained style, and a tenth as many of none."""
    known = [i for i, c in enumerate(web.concepts) if c.role != "nowhere"]
    wanted: list[tuple[int, Draw | None]] = [
        (numbers[web.concepts[thing].name], partial(_styled, web, thing, style))
        for thing in known
        for style in TRAINED_STYLES
        for _ in range(each)
    ]
    wanted += [(-1, None)] * (len(wanted) // 10)
    return _drawn_crops(wanted, partial(_any, web, known), px, seed, window)


def digit_crops(
    web: WebPictures,
    fonts: Sequence[Path],
    numbers: Mapping[str, int],
    each: int,
    px: int,
    seed: int,
    window: float = crops.FIGURE_WINDOW,
) -> Cropped:
    """each crops of every digit, with pictures or other digits beside. window: as for crops.cut."""
    known = [i for i, c in enumerate(web.concepts) if c.role != "nowhere"]
    wanted: list[tuple[int, Draw | None]] = [
        (numbers[digit], partial(digit_card, digit, fonts))
        for digit in DIGITS
        for _ in range(each)
    ]

    def beside(rng: np.random.Generator) -> Card:
        if rng.random() < 0.5:
            return digit_card(str(rng.choice(DIGITS)), fonts, rng)
        return _any(web, known, rng)

    return _drawn_crops(wanted, beside, px, seed, window)


def joined(*parts: Cropped) -> Cropped:
    """All crops of parts."""
    return Cropped(torch.cat([p.pooled for p in parts]), torch.cat([p.number for p in parts]))


def _drawn_crops(
    wanted: Sequence[tuple[int, Draw | None]],
    beside: Draw,
    px: int,
    seed: int,
    window: float = crops.WINDOW,
) -> Cropped:
    found, shown = [], window / crops.WINDOW
    for start in track(range(0, len(wanted), 32), "drawn boxes"):
        batch = [
            _drawn(draw, beside, np.random.default_rng([seed, n, 29]))
            for n, (_, draw) in enumerate(wanted[start : start + 32], start)
        ]
        middle = torch.full((1, 2), 0.5)
        cut = np.concatenate([crops.cut(image, middle, px, window=shown) for image in batch])
        found.append(_pooled(cut))
    return Cropped(torch.cat(found), torch.tensor([number for number, _ in wanted]))


def _styled(web: WebPictures, thing: int, style: str, rng: np.random.Generator) -> Card:
    return draw_card(web, thing, style, rng)


def _any(web: WebPictures, known: Sequence[int], rng: np.random.Generator) -> Card:
    return draw_card(web, int(rng.choice(known)), str(rng.choice(TRAINED_STYLES)), rng)


def robot_crops(scenes: ThingPictures, numbers: Mapping[str, int], px: int, seed: int) -> Cropped:
    """Two crops of every known object of robot scenes, and one of a place without any in each scene."""
    found, number = [], []
    for i, image in enumerate(track(scenes.images, "robot crops")):
        rng = np.random.default_rng([seed, i, 31])
        uv, which = scenes.uv[i], [numbers.get(name, -1) for name in scenes.names[i]]
        places = [k for k, n in enumerate(which) if n >= 0] * 2
        around = uv[places] + rng.normal(0, OFF, (len(places), 2))
        free = rng.uniform(0.1, 0.9, (40, 2))
        near = np.linalg.norm(free[:, None] - uv[None], axis=-1) < AWAY  # NaN: no object
        around = np.concatenate((around, free[~near.any(1)][:1]))
        number += [which[k] for k in places] + [-1] * (len(around) - len(places))
        cut = crops.cut(image, torch.from_numpy(around).float(), px)
        found.append(_pooled(cut))
    return Cropped(torch.cat(found), torch.tensor(number))


def train(
    head: WidePointing, web: Cropped, robot: Cropped, texts: EncodedTexts, *, steps: int, seed: int
) -> list[float]:
    """Train head.crops in place; returns the losses of every hundredth step.

    Crops of robot scenes are told apart from each other alone, not from what robot scenes never show: else whatever is on a
    robot's table would be taken for what was there in training.
    """
    if head.crops is None:
        raise ValueError("head: got one without crops")
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(head.crops.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1)
    every, told = torch.arange(len(texts.vectors)), []
    none = Cropped(
        torch.cat([one.pooled[one.number < 0] for one in (web, robot)]),
        torch.cat([one.number[one.number < 0] for one in (web, robot)]),
    )
    things = [
        Cropped(one.pooled[one.number >= 0], one.number[one.number >= 0]) for one in (web, robot)
    ]
    unseen = torch.ones(len(every) + 1, dtype=torch.bool)
    unseen[[*robot.number[robot.number >= 0].unique().tolist(), len(every)]] = False
    first, last = BATCH["web"], BATCH["web"] + BATCH["robot"]
    head.crops.train()
    for step in range(steps):
        rng = np.random.default_rng([seed, step, 37])
        drawn = []
        for one, count in zip((*things, none), BATCH.values(), strict=True):
            index = torch.from_numpy(rng.integers(0, len(one.number), count))
            drawn.append((one.pooled[index].float(), one.number[index]))
        seen, number = (torch.cat(part) for part in zip(*drawn, strict=True))
        with torch.no_grad():
            said = texts.vectors[
                every, torch.from_numpy(rng.integers(0, texts.vectors.shape[1], len(every)))
            ]
            queries = head.queries(said)
        logits = head.crops.logits(head.crops(seen), queries)
        logits[first:last] = logits[first:last].masked_fill(unseen, -1e4)
        goal = torch.where(number < 0, len(every), number)  # the last: none
        loss = F.cross_entropy(logits, goal)
        take_step(loss, optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            right = (logits.argmax(-1) == goal).float().mean()
            told.append(loss.item())
            print(f"crops {step}: loss {told[-1]:.3f}, right {right:.2f}", flush=True)
    head.crops.eval()
    return told


@torch.no_grad()
def _pooled(cut: np.ndarray) -> Tensor:
    return crops.pooled(encoders.features(cut)).half()


def _drawn(draw: Draw | None, beside: Draw, rng: np.random.Generator) -> np.ndarray:
    """uint8[56, 56, 3]: a box with the card of draw, None for none, in the middle, sometimes one of beside at the edge."""
    side = NATIVE_PX * FINER
    colours = np.clip(rng.normal(rng.uniform(30, 225, 3), rng.uniform(0, 25), (3, 3, 3)), 0, 255)
    image = cv2.resize(colours.astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 3))):
        corner, size = rng.integers(-40, side, 2), rng.integers(20, side, 2)
        colour = [int(x) for x in rng.integers(0, 256, 3)]
        cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), colour, -1)
    if draw is None and rng.random() < 0.5:  # a plain shape is none of the things either
        cv2.circle(image, (side // 2, side // 2), int(rng.integers(30, 140)), [int(x) for x in rng.integers(0, 256, 3)], -1)  # fmt: skip
    if rng.random() < 0.4:
        turn = rng.uniform(0, 2 * np.pi)
        edge = side / 2 + side * rng.uniform(0.55, 0.8) * np.array([np.cos(turn), np.sin(turn)])
        _box(image, beside(rng), edge, rng)
    if draw is not None:
        middle = side / 2 + np.clip(rng.normal(0, OFF * SIDE_PX * FINER, 2), -28, 28)
        _box(image, draw(rng), middle, rng)
    seen = cv2.resize(image, (NATIVE_PX, NATIVE_PX), interpolation=cv2.INTER_AREA)
    noisy = seen + rng.normal(0, rng.uniform(0, 4), seen.shape)
    drawn: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
    return drawn


def _box(image: np.ndarray, card: Card, middle: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a box of 20 to 34 px seen from above: the picture on top, darker in front, seldom flat."""
    picture = np.frombuffer(card.pixels, np.uint8).reshape(64, 64, 3)
    light = rng.uniform(0.7, 1.1)
    width = FINER * rng.uniform(20, 34)
    top = width * rng.uniform(0.62, 1.0)
    front = 0.0 if rng.random() < 0.12 else width * rng.uniform(0.2, 0.65)
    lean, back = width * rng.uniform(-0.2, 0.2), width * rng.uniform(0.87, 1.0)
    turn = np.radians(rng.uniform(-12, 12))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    low, high = top * 0.35, -top * 0.65  # of the top; the middle is nearer to its lower edge
    foot, lower = width * rng.uniform(0.88, 1.0), low + front
    away, slip = lean * rng.uniform(0.0, 0.6), rng.uniform(0.15, 0.6)
    corners = np.array([
        [lean - back / 2, high], [lean + back / 2, high], [width / 2, low], [-width / 2, low],
        [foot / 2 - away, lower], [-foot / 2 - away, lower],
    ])  # fmt: skip
    corners = corners @ matrix.T + middle
    dark = light * rng.uniform(0.45, 0.9)
    if abs(away) > 1.0 and front:  # the side that is seen beside the front
        k = (0, 3, 5) if away < 0 else (1, 2, 4)
        last = (
            corners[k[0]] * slip
            + corners[k[2]] * (1 - slip)
            + (corners[k[0]] - corners[k[1]]) * 0.3
        )
        shade = [int(x) for x in np.clip(np.array(card.paper) * dark * 0.8, 0, 255)]
        cv2.fillConvexPoly(image, cv2.convexHull(np.array([*corners[list(k)], last], np.float32)).astype(np.int32), shade)  # fmt: skip
    if front:
        upright = picture if rng.random() < 0.5 else picture[::-1]
        _paste(image, upright, corners[[3, 2, 4, 5]], dark)
    _paste(image, picture, corners[[0, 1, 2, 3]], light)


def _paste(image: np.ndarray, picture: np.ndarray, corners: np.ndarray, light: float) -> None:
    """Draw the picture onto the quadrilateral of corners, from its upper left clockwise."""
    n = picture.shape[0]
    source = np.array([[0, 0], [n, 0], [n, n], [0, n]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    size = (image.shape[1], image.shape[0])
    lit = np.clip(picture * light, 0, 255).astype(np.uint8)
    drawn = cv2.warpPerspective(lit, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, np.round(corners).astype(np.int32), 1)
    image[:] = np.where(inside[..., None] > 0, drawn, image)
