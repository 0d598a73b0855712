"""Images in which `small` learns to point: robot scenes with few objects, and collages of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vla_policy.data.web.concepts import TRAINED_STYLES, Concept, of_role
from vla_policy.data.web.pictures import WebPictures
from vla_policy.sim.demonstrations.start_poses import place_like_demonstration
from vla_policy.sim.scenes.cards import card_scene, draw_card
from vla_policy.sim.scenes.scene import Card
from vla_policy.sim.world.world import World
from vla_policy.train.meaning.digits import DIGITS, digit_card

SIDE_PX = 224
ROBOT_STYLE = "noto"
MOST = 6  # objects in an image
Draw = Callable[[np.random.Generator], Card]


@dataclass(frozen=True, slots=True)
class ThingPictures:
    """images: uint8[n, 224, 224, 3]. uv: float32[n, 6, 2]. names: of each object, "" for none."""

    images: np.ndarray
    uv: np.ndarray
    names: list[list[str]]


def robot_scenes(
    web: WebPictures,
    first: int,
    count: int,
    *,
    things: Sequence[Concept] | None = None,
    working: float = 0.5,
) -> ThingPictures:
    """Scenes of boxes with pictures and plain objects, from seed first on.

    things: possible pictures; None: those of role "robot". working: share of scenes with the arm
    at work, where it may hide some; in the others it is at its start.
    """
    world = World(renderer="auto")
    of = of_role(web.concepts, "robot") if things is None else things
    known = [web.concepts.index(c) for c in of]
    images, places, names = [], [], []
    for seed in range(first, first + count):
        rng = np.random.default_rng([seed, 3])
        drawn = rng.choice(known, int(rng.integers(1, 4)), replace=False)
        cards = [draw_card(web, int(thing), ROBOT_STYLE, rng) for thing in drawn]
        scene = card_scene(seed, cards)
        if rng.random() < working:
            place_like_demonstration(world, scene, rng)
        else:
            world.reset(scene)
        xyz = world.truth().object_xyz + np.array(
            [0.0, 0.0, 0.012]
        )  # closer to the pictures' height
        images.append(world.render("front", SIDE_PX, SIDE_PX))
        places.append(_padded(world.project("front", xyz)))
        names.append(_filled([item.name for item in scene.objects]))
    world.close()
    return ThingPictures(np.stack(images), np.stack(places), names)


def collages(
    web: WebPictures, seed: int, count: int, *, fonts: Sequence[Path] = ()
) -> ThingPictures:
    """Pictures of roles "robot" and "web" in trained styles, on backgrounds unlike any scene.

    fonts: in which digits are drawn; with them half of the images have digits among the pictures, or nothing else.
    """
    known = [i for i, c in enumerate(web.concepts) if c.role != "nowhere"]
    images, places, names = [], [], []
    for number in range(count):
        rng = np.random.default_rng([seed, number, 5])
        things = [int(t) for t in rng.choice(known, int(rng.integers(3, MOST + 1)), replace=False)]
        named = [web.concepts[thing].name for thing in things]
        drawn: list[Draw] = [partial(_web_card, web, thing) for thing in things]
        if fonts and rng.random() < 0.5:
            digits = int(rng.integers(1, len(things) + 1))
            named[:digits] = [DIGITS[d] for d in rng.choice(len(DIGITS), digits, replace=False)]
            drawn[:digits] = [partial(_digit, digit, fonts) for digit in named[:digits]]
        image, uv = _collage(drawn, rng)
        images.append(image)
        places.append(_padded(uv))
        names.append(_filled(named))
    return ThingPictures(np.stack(images), np.stack(places), names)


def _web_card(web: WebPictures, thing: int, rng: np.random.Generator) -> Card:
    return draw_card(web, thing, str(rng.choice(TRAINED_STYLES)), rng)


def _digit(digit: str, fonts: Sequence[Path], rng: np.random.Generator) -> Card:
    return digit_card(digit, fonts, rng)


def _collage(drawn: Sequence[Draw], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    coarse = rng.normal(
        rng.uniform(40, 215, 3), rng.uniform(2, 30), (int(rng.integers(2, 9)),) * 2 + (3,)
    )
    image = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)  # fmt: skip
    for _ in range(int(rng.integers(0, 5))):
        corner, size = rng.integers(0, SIDE_PX, 2), rng.integers(10, 80, 2)
        colour = [int(x) for x in rng.integers(0, 256, 3)]
        cv2.rectangle(image, corner.tolist(), (corner + size).tolist(), colour, -1)
    centres: list[np.ndarray] = []
    for draw in drawn:
        for _ in range(50):
            centre = rng.uniform(18, SIDE_PX - 18, 2)
            if all(np.linalg.norm(centre - other) > 36 for other in centres):
                break
        centres.append(centre)
        _paste(image, draw(rng), centre, rng)
    noisy = image * rng.uniform(0.7, 1.15) + rng.normal(0, rng.uniform(0, 5), image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), np.stack(centres) / SIDE_PX


def _paste(image: np.ndarray, card: Card, centre: np.ndarray, rng: np.random.Generator) -> None:
    """A picture of 16 to 36 px on paper, slightly rotated, with a darker side below like a box."""
    picture = np.frombuffer(card.pixels, np.uint8).reshape(64, 64, 3).astype(np.float32)
    picture = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge") * rng.uniform(0.55, 1.1)
    width = rng.uniform(16, 36)
    height = width * rng.uniform(0.8, 1.15)
    turn = np.radians(rng.uniform(-18, 18))
    across = np.array([np.cos(turn), np.sin(turn)]) * width
    down = np.array([-np.sin(turn), np.cos(turn)]) * height
    corner = centre - across / 2 - down / 2
    if rng.random() < 0.6:
        side = np.array([corner + down, corner + down + across, centre + across * 0.5 + down * 0.5 + [0, height * 0.5],
                         corner + down + [0, height * 0.5]])  # fmt: skip
        shade = [int(x) for x in np.array(card.paper) * rng.uniform(0.3, 0.8)]
        cv2.fillConvexPoly(image, side.astype(np.int32), shade)
    scale = max(width, height) / 68
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    h, w = small.shape[:2]
    source = np.array([[0, 0], [w, 0], [0, h]], np.float32)
    goal = np.array([corner, corner + across, corner + down], np.float32)
    matrix = cv2.getAffineTransform(source, goal)
    size = (SIDE_PX, SIDE_PX)
    drawn = cv2.warpAffine(small, matrix, size, flags=cv2.INTER_LINEAR)
    share = cv2.warpAffine(np.ones((h, w), np.float32), matrix, size)[..., None]
    image[:] = np.clip(image * (1 - share) + drawn * (share > 0), 0, 255).astype(np.uint8)


def _padded(uv: np.ndarray) -> np.ndarray:
    """float32[6, 2], NaN after the last."""
    padded = np.full((MOST, 2), np.nan, np.float32)
    padded[: len(uv)] = uv
    return padded


def _filled(names: list[str]) -> list[str]:
    return names + [""] * (MOST - len(names))
