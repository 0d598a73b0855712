"""Objects of base scenes painted in the colour of a demonstrated object, so that it is learned for every shape.

A pixel of an object is its colour m under some light, mixed with the background: w m + rest. Its
component along m gives w; adding w (c - m) gives the same object in colour c, with its shading and edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.data.frames import Frames
from vla_policy.types import Array

REACH_PX = 9  # around the centre of an object
RING_PX = (9, 12)  # of its surroundings
CHROMA = 40.0  # smallest length, of 255: this does not separate grey objects from the table
AROUND = 0.12  # largest share of the colour in the surroundings
LEAST = 0.15
PIXELS = 6  # smallest number in an object


@dataclass(frozen=True, slots=True)
class PaintedThings:
    """before, after: uint8[n, h, w, 3]. uv: float64[n, 2], centres. xyz: float32[n, 3], base frame. shape: int64[n]."""

    before: Array
    after: Array
    uv: Array
    xyz: Array
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
    front, _ = frames.images(np.arange(len(frames)))
    a = frames.arrays
    rows: list[tuple[Array, ...]] = []
    for n in range(len(frames)):
        first: dict[tuple[float, ...], int] = {}
        for q, place in enumerate(a["front_uv"][n, :, 0]):
            first.setdefault(tuple(np.round(place, 4)), q)
        for q in first.values():
            colour = colours[rng.integers(len(colours))] * rng.uniform(0.85, 1.12)
            image = painted(front[n], a["front_uv"][n, q, 0], colour.clip(0, 255))
            if image is not None:
                rows.append(
                    (
                        front[n],
                        image,
                        a["front_uv"][n, q, 0],
                        a["target_xyz"][n, q],
                        a["target_shape"][n, q],
                    )
                )
    if not rows:
        raise ValueError(
            "base scenes: got none with a thing that stands out by its colour, expected some"
        )
    before, after, uv, xyz, shape = (np.stack(column) for column in zip(*rows, strict=True))
    return PaintedThings(before, after, uv.astype(float), xyz, shape.astype(np.int64))


def painted(image: Array, uv: Array, colour: Array) -> Array | None:
    """image with the object at uv in another colour; None if its colour does not separate it."""
    if not ((uv > 0.04) & (uv < 0.96)).all():
        return None
    pixels, away = _around(image, uv)
    own = np.median(pixels[away <= 1.5], axis=0)
    chroma = own - own.mean()
    length = float(np.linalg.norm(chroma))
    if length < CHROMA:
        return None
    part = pixels - pixels.mean(1, keepdims=True)
    share = (part @ chroma) / length**2
    along = share * length / np.linalg.norm(part, axis=1).clip(1e-6)
    share = np.where((along > 0.9) & (share > LEAST), share.clip(0, 1.6), 0.0)
    if share[(away >= RING_PX[0]) & (away <= RING_PX[1])].mean() > AROUND:
        return None
    share = np.where(away <= REACH_PX, share, 0.0)
    if (share > 0.5).sum() < PIXELS:
        return None
    out = image.astype(float).reshape(-1, 3)
    out[:] = (pixels + share[:, None] * (colour - own)).clip(0, 255)
    result: Array = out.reshape(image.shape).astype(np.uint8)
    return result


def _around(image: Array, uv: Array) -> tuple[Array, Array]:
    """float64[h w, 3] pixels, and the distance of each from the position, px."""
    height, width = image.shape[:2]
    v, u = np.mgrid[:height, :width] + 0.5
    away = np.hypot(u - uv[0] * width, v - uv[1] * height).ravel()
    return image.reshape(-1, 3).astype(float), away
