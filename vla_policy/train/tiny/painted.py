"""Objects of base scenes painted in the colour of a demonstrated object, so that it is learned for every shape.

A pixel of an object is its colour m under some light, mixed with the background: w m + rest. Its
component along m gives w; adding w (c - m) gives the same object in colour c, with its shading and edges.

The colour is that of the demonstrations (`colours_of`), scaled by the light of the scene: the brightness of the painted object
relative to the other objects of its own colour. Each object is painted in both images, or left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from vla_policy.data.frames import Frames
from vla_policy.types import Array

REACH_PX = 9  # around the centre of an object
RING_PX = (9, 12)  # of its surroundings
CHROMA = 40.0  # smallest length, of 255: this does not separate grey objects from the table
ALONG = 0.9  # smallest cosine of a pixel with a colour
AROUND = 0.12  # largest share of the colour in the surroundings
LEAST = 0.15
PIXELS = 6  # smallest number in an object
SPREAD = (0.88, 1.12)  # of brightness, relative to that of the scene
# In a wrist image.
SAME = 0.94  # smallest cosine of the colours of an object in both images
CENTRE_PX = 2.5
FAINT = 0.3  # a pixel with less of the colour
MOST_FAINT = 0.35  # largest share of such pixels: more are a table of nearly that colour
LARGEST = 0.45  # of the image
EDGE_PX = 3  # around the object, where the colour must end


@dataclass(frozen=True, slots=True)
class PaintedThings:
    """n objects, each with its own image pair.

    row, query: int64[n], the base scene and its first sentence about the object. before: uint8[n, h, w, 3], the original front
    image; after, wrist: front and wrist image with the new colour. seen: bool[n], visible to the wrist camera.
    uv: float64[n, 2], centres. xyz: float32[n, 3], base frame. colour, shape: int64[n], the original classes.
    """

    row: Array
    query: Array
    before: Array
    after: Array
    wrist: Array
    seen: Array
    uv: Array
    xyz: Array
    colour: Array
    shape: Array

    def __len__(self) -> int:
        return len(self.uv)


def colours_of(front: Array, uv: Array, group: Array) -> Array:
    """float64[g, 3]: colour of the object at uv, float64[n, 2], in images uint8[n, h, w, 3]; one of each group, int[n]."""
    found: dict[int, list[Array]] = {}
    for image, place, which in zip(front, uv, group, strict=True):
        pixels, away = _around(image, place)
        ring = np.median(pixels[(away >= RING_PX[0]) & (away <= RING_PX[1])], axis=0)
        near = pixels[away <= 3.5]
        apart = np.linalg.norm(near - ring, axis=1)
        found.setdefault(int(which), []).append(
            np.median(near[np.argsort(-apart)[:PIXELS]], axis=0)
        )
    return np.array([np.median(colours, axis=0) for colours in found.values()])


def painted_things(frames: Frames, colours: Array, seed: int) -> PaintedThings:
    """Every object of base scenes that its colour separates from its surroundings, one per image, in one of colours."""
    rng = np.random.default_rng((seed, 3))
    front, wrist = frames.images(np.arange(len(frames)))
    a = frames.arrays
    pairs = list(_things(frames))
    light = _light(front, a["front_uv"], a["target_colour"], pairs)
    typical = np.median(np.linalg.norm(colours, axis=1))
    rows: list[tuple[Any, ...]] = []
    for (n, q), bright in zip(pairs, light, strict=True):
        own = colours[rng.integers(len(colours))]
        colour = own / np.linalg.norm(own).clip(1.0) * typical * bright * rng.uniform(*SPREAD)
        image = painted(front[n], a["front_uv"][n, q, 0], colour)
        if image is None:
            continue
        near: Array | None = wrist[n]
        if seen := bool(a["wrist_visible"][n, q]):
            middle = _middle(front[n], a["front_uv"][n, q, 0])
            near = painted_near(wrist[n], a["wrist_uv"][n, q], colour, middle)
        if near is not None:
            rows.append((n, q, front[n], image, near, seen))
    if not rows:
        raise ValueError(
            "base scenes: got none with a thing that stands out by its colour, expected some"
        )
    row, query, before, after, close, visible = (np.stack(c) for c in zip(*rows, strict=True))
    return PaintedThings(
        row, query, before, after, close, visible,
        a["front_uv"][row, query, 0].astype(float), a["target_xyz"][row, query],
        *(a[f"target_{kind}"][row, query].astype(np.int64) for kind in ("colour", "shape")),
    )  # fmt: skip


def painted(image: Array, uv: Array, colour: Array) -> Array | None:
    """image with the object at uv in another colour; None if its colour does not separate it."""
    if not ((uv > 0.04) & (uv < 0.96)).all():
        return None
    pixels, away = _around(image, uv)
    own = np.median(pixels[away <= 1.5], axis=0)
    share = _share(pixels, own)
    if share is None or share[(away >= RING_PX[0]) & (away <= RING_PX[1])].mean() > AROUND:
        return None
    share = np.where(away <= REACH_PX, share, 0.0)
    if (share > 0.5).sum() < PIXELS:
        return None
    return _mixed(image, share, colour - own)


def painted_near(image: Array, uv: Array, colour: Array, front: Array) -> Array | None:
    """The same in a wrist image, where an object may have any size: the connected region of its colour at its centre.

    front: its colour in the front image. None if it is hidden, or connected to something of nearly its colour.
    """
    pixels, away = _around(image, uv)
    way = (front - front.mean()) / np.linalg.norm(front - front.mean()).clip(1e-6)
    part = pixels - pixels.mean(1, keepdims=True)
    length = np.linalg.norm(part, axis=1)
    its = (away <= CENTRE_PX) & (part @ way > SAME * length) & (length > CHROMA / 2)
    if its.sum() < PIXELS / 2:
        return None
    own = np.median(pixels[its], axis=0)
    share = _share(pixels, own)
    if share is None:
        return None
    height, width = image.shape[:2]
    there = (share > 0).reshape(height, width).astype(np.uint8)
    _, region = cv2.connectedComponents(there, connectivity=8)
    joined = region == np.bincount(region.ravel()[its]).argmax()
    beside = cv2.dilate(joined.astype(np.uint8), np.ones((2 * EDGE_PX + 1,) * 2, np.uint8)) > 0
    beside &= ~joined
    inside = share[joined.ravel()]
    if (
        not inside.all()
        or not PIXELS <= joined.sum() <= LARGEST * joined.size
        or (inside < FAINT).mean() > MOST_FAINT
        or (share.reshape(height, width)[beside] > 0).mean() > AROUND
    ):
        return None
    return _mixed(image, np.where(joined.ravel(), share, 0.0), colour - own)


def _share(pixels: Array, own: Array) -> Array | None:
    """float64[p]: share of the colour own in each pixel, 0 for pixels of another colour; None for a grey one."""
    chroma = own - own.mean()
    length = float(np.linalg.norm(chroma))
    if length < CHROMA:
        return None
    part = pixels - pixels.mean(1, keepdims=True)
    share = (part @ chroma) / length**2
    along = share * length / np.linalg.norm(part, axis=1).clip(1e-6)
    found: Array = np.where((along > ALONG) & (share > LEAST), share.clip(0, 1.6), 0.0)
    return found


def _mixed(image: Array, share: Array, step: Array) -> Array:
    pixels = image.reshape(-1, 3).astype(float)
    result: Array = (pixels + share[:, None] * step).clip(0, 255).astype(np.uint8)
    return result.reshape(image.shape)


def _things(frames: Frames) -> Iterator[tuple[int, int]]:
    """Each object named in a base scene, once: its scene, and its first sentence there."""
    for n, places in enumerate(frames.arrays["front_uv"][:, :, 0]):
        first: dict[tuple[float, ...], int] = {}
        for q, place in enumerate(places):
            first.setdefault(tuple(np.round(place, 4)), q)
        yield from ((n, q) for q in first.values())


def _light(front: Array, uv: Array, number: Array, pairs: list[tuple[int, int]]) -> Array:
    """float64[n]: brightness of each object relative to the others of its colour."""
    bright = np.array([np.linalg.norm(_middle(front[n], uv[n, q, 0])) for n, q in pairs])
    which = np.array([number[n, q] for n, q in pairs])
    for colour in np.unique(which):
        bright[which == colour] /= np.median(bright[which == colour]).clip(1.0)
    return bright.clip(0.5, 1.6)


def _middle(image: Array, uv: Array) -> Array:
    """float64[3]: the colour at the centre of an object, moved into the image if it is outside."""
    pixels, away = _around(image, np.clip(uv, 0.02, 0.98))
    middle: Array = np.median(pixels[away <= 1.5], axis=0)
    return middle


def _around(image: Array, uv: Array) -> tuple[Array, Array]:
    """float64[h w, 3] pixels, and the distance of each from the position, px."""
    height, width = image.shape[:2]
    v, u = np.mgrid[:height, :width] + 0.5
    away = np.hypot(u - uv[0] * width, v - uv[1] * height).ravel()
    return image.reshape(-1, 3).astype(float), away
