"""Scenes of boxes with a picture on top, with or without plain objects beside them.

A box is one of the graspable cubes, longer along x, so that its top appears square to the front
camera. A picture is known by its name only; the simulation works with any set of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vla_policy.data.web.pictures import WebPictures
from vla_policy.sim.scenes.placement import PLACES
from vla_policy.sim.scenes.scene import CARD_PX, Card, Scene, SceneObject, sample_scene
from vla_policy.sim.tasks.tasks import Task

CARD_HALF_M = (0.0245, 0.026)
# Free space around a box: more than its half length, for the fingers that descend beside it.
_ROOM_M = 0.047
_YAW_RAD = 0.08
_PAPER_LOWEST = 225  # of the colour of a card, 0 to 255


def make_card(name: str, picture: np.ndarray) -> Card:
    """A card from uint8[64, 64, 3]. Raises ValueError for another shape or type."""
    if picture.shape != (CARD_PX, CARD_PX, 3) or picture.dtype != np.uint8:
        raise ValueError(
            f"card {name!r}: got {picture.dtype}{list(picture.shape)}, "
            f"expected uint8[{CARD_PX}, {CARD_PX}, 3]"
        )
    return Card(name, picture.tobytes())


def draw_card(pictures: WebPictures, thing: int, style: str, rng: np.random.Generator) -> Card:
    """The card of object number thing of pictures, on light paper."""
    r, g, b = (int(x) for x in rng.integers(_PAPER_LOWEST, 256, 3))
    return make_card(pictures.concepts[thing].name, pictures.on_card(thing, style, (r, g, b)))


def card_scene(
    seed: int, cards: Sequence[Card], *, split: str = "train", robot: str = "vx300s"
) -> Scene:
    """The scene of this seed, its first objects replaced by boxes with these cards.

    Appearance, tray, pad and the remaining plain objects are drawn as usual. Raises ValueError for
    more cards than objects.
    """
    plain = sample_scene(seed, split=split, robot=robot)
    if not 1 <= len(cards) <= len(plain.objects):
        raise ValueError(f"cards: got {len(cards)}, expected 1 to {len(plain.objects)}")
    rng = np.random.default_rng([seed, 77])
    rooms = np.array([_ROOM_M] * len(cards) + [o.half_m for o in plain.objects[len(cards) :]])
    places = None
    while places is None:
        places = PLACES[robot](rng, rooms)
    xy, tray, pad, _ = places
    objects = []
    for index, item in enumerate(plain.objects):
        here = (float(xy[index, 0]), float(xy[index, 1]))
        if index >= len(cards):
            objects.append(replace(item, xy=here))
            continue
        paper = cards[index].paper
        objects.append(
            SceneObject(
                "white",
                "cube",
                float(rng.uniform(*CARD_HALF_M)),
                here,
                float(rng.uniform(-_YAW_RAD, _YAW_RAD)),
                (paper[0] / 255, paper[1] / 255, paper[2] / 255),
                cards[index],
            )
        )
    return replace(
        plain,
        objects=tuple(objects),
        tray_xy=(float(tray[0]), float(tray[1])),
        pad_xy=(float(pad[0]), float(pad[1])),
    )


def named_task(scene: Scene, target: int, sentence: str, destination: str | None) -> Task:
    """A task about an object named by sentence; destination "tray", "pad" or None (pick)."""
    family = "pick" if destination is None else "put"
    name = scene.objects[target].name
    return Task(family, sentence, target, None, destination, "name", name)
