"""Light, colours and camera of a scene: the part that is randomised without meaning."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vla_policy.sim.twin import TwinCamera

NEUTRAL_RGB = ((0.90, 0.90, 0.88), (0.52, 0.52, 0.54), (0.14, 0.14, 0.15), (0.42, 0.29, 0.19))

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Looks:
    """Colours in 0..1, light_direction a unit vector along which the light travels, in base_link.

    front_position, front_target: metres in base_link; position of the camera and of its target.
    """

    table_rgb: Rgb
    floor_rgb: Rgb
    tray_rgb: Rgb
    pad_rgb: Rgb
    robot_rgb: Rgb
    light_direction: Rgb
    light: float
    ambient: float
    front_position: Rgb
    front_target: Rgb
    front_roll_rad: float
    front_fovy_deg: float


def sample_looks(rng: np.random.Generator, split: str, front: TwinCamera) -> Looks:
    """Draw the appearance of a scene, its front camera near front.

    The splits "moved_camera" and "other_table" leave the training range.
    """
    table = _table_rgb(rng, other=split == "other_table")
    neutral = [np.array(c) for c in NEUTRAL_RGB if _distance(c, table) > 0.25]
    picks = rng.permutation(len(neutral))[:2]
    tray, pad = (np.clip(neutral[i] + rng.uniform(-0.05, 0.05), 0, 1) for i in picks)
    azimuth, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.75)
    direction = (np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), -np.cos(tilt))
    shift = rng.uniform(-1, 1, 3) * np.array([0.025, 0.03, 0.02])
    if split == "moved_camera":
        sign = rng.choice([-1.0, 1.0], 3)
        shift = sign * rng.uniform(0.05, 0.09, 3)
    return Looks(
        table_rgb=_rgb(table),
        floor_rgb=_rgb(rng.uniform(0.1, 0.9) + rng.uniform(-0.08, 0.08, 3)),
        tray_rgb=_rgb(tray),
        pad_rgb=_rgb(pad),
        robot_rgb=_rgb(rng.uniform(0.08, 0.3) + rng.uniform(-0.02, 0.02, 3)),
        light_direction=_triple(direction),
        light=float(rng.uniform(0.35, 0.75)),
        ambient=float(rng.uniform(0.35, 0.6)),
        front_position=_triple(np.array(front.position) + shift),
        front_target=_triple(np.array(front.target) + rng.uniform(-0.012, 0.012, 3)),
        front_roll_rad=float(rng.uniform(-0.03, 0.03)),
        front_fovy_deg=float(front.fovy_deg + rng.uniform(-1.5, 1.5)),
    )


def _table_rgb(rng: np.random.Generator, *, other: bool) -> np.ndarray:
    """Wood and grey tones for training; muted turquoise and pink for "other_table"."""
    if other:
        hue = rng.choice([0.48, 0.92]) + rng.uniform(-0.03, 0.03)
        return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.25, 0.4), rng.uniform(0.55, 0.8)))
    if rng.random() < 0.5:
        return np.clip(rng.uniform(0.25, 0.85) + rng.uniform(-0.03, 0.03, 3), 0, 1)
    hue = rng.uniform(0.06, 0.11)
    return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.15, 0.45), rng.uniform(0.4, 0.85)))


def _distance(a: ArrayLike, b: ArrayLike) -> float:
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)))


def _rgb(values: ArrayLike) -> Rgb:
    return _triple(np.clip(values, 0.0, 1.0))


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)
