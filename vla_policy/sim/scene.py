"""What stands on the table and how it looks, drawn from a seed. Pure numbers, no physics.

Lengths in metres, in base_link: x forward over the table, y left of the robot, z up, table at z=0.
The front camera looks back at the robot, so image left is smaller y and image right is larger y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.sim.looks import Looks, sample_looks

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("cube", "cylinder", "ball")
DESTINATIONS = ("tray", "pad")
SPLITS = ("train", "unseen_pairs", "moved_camera", "other_table")
# Never shown while training; the split "unseen_pairs" always contains one of them.
HELD_OUT_PAIRS = frozenset({("red", "ball"), ("blue", "cube"), ("yellow", "cylinder")})

HALF_MIN_M, HALF_MAX_M = 0.0135, 0.025
SIZE_RATIO = 1.16
TRAY_HALF_M = 0.06  # inside, to the rim
TRAY_RIM_M = 0.016  # height
PAD_RADIUS_M = 0.055
REGION_LOWER = np.array([0.19, -0.21])
REGION_UPPER = np.array([0.44, 0.21])
HOME_XYZ = np.array([0.30, 0.0, 0.20])
# The fingers open along y and come down beside an object.
FINGER_CLEARANCE_Y_M = 0.070
FINGER_CLEARANCE_X_M = 0.020


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: half_m is half the edge of a cube, the radius (and half height) of the others."""

    colour: str
    shape: str
    half_m: float
    xy: tuple[float, float]
    yaw_rad: float
    rgb: tuple[float, float, float]

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One seeded start. tray_xy and pad_xy are centres; home_xyz is where the tool starts."""

    seed: int
    split: str
    objects: tuple[SceneObject, ...]
    tray_xy: tuple[float, float]
    pad_xy: tuple[float, float]
    home_xyz: tuple[float, float, float]
    looks: Looks

    def destination_xyz(self, name: str) -> np.ndarray:
        """float64[3] centre of "tray" or "pad" on the table."""
        if name not in DESTINATIONS:
            raise ValueError(
                f"destination: got {name!r}, expected one of {', '.join(DESTINATIONS)}"
            )
        return np.array([*(self.tray_xy if name == "tray" else self.pad_xy), 0.0])


def sample_scene(seed: int, *, split: str = "train") -> Scene:
    """Draw a scene of three objects, a tray and a pad; the same seed and split give the same scene.

    Raises ValueError for an unknown split or a negative seed.
    """
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed: got {seed}, expected >= 0")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    kinds = _sample_kinds(rng, split)
    halves = _sample_halves(rng)
    places = None
    while places is None:
        places = _sample_places(rng, halves)
    objects_xy, tray_xy, pad_xy = places
    objects = tuple(
        SceneObject(
            colour,
            shape,
            float(half),
            (float(xy[0]), float(xy[1])),
            float(rng.uniform(-0.25, 0.25)),
            _jitter_colour(colour, rng),
        )
        for (colour, shape), half, xy in zip(kinds, halves, objects_xy, strict=True)
    )
    home = HOME_XYZ + rng.uniform([-0.05, -0.08, -0.05], [0.05, 0.08, 0.03])
    return Scene(
        seed,
        split,
        objects,
        (float(tray_xy[0]), float(tray_xy[1])),
        (float(pad_xy[0]), float(pad_xy[1])),
        tuple(float(v) for v in home),
        sample_looks(rng, split),
    )


BASE_RGB = {
    "red": (0.85, 0.10, 0.10),
    "green": (0.12, 0.65, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.92, 0.85, 0.12),
    "purple": (0.52, 0.14, 0.66),
    "orange": (0.97, 0.48, 0.06),
}


def _jitter_colour(colour: str, rng: np.random.Generator) -> tuple[float, float, float]:
    rgb = np.array(BASE_RGB[colour]) * rng.uniform(0.85, 1.05) + rng.uniform(-0.04, 0.04, 3)
    return tuple(float(v) for v in np.clip(rgb, 0.0, 1.0))


def _sample_kinds(rng: np.random.Generator, split: str) -> list[tuple[str, str]]:
    """Three different colour-shape pairs; often some share a colour or a shape, so both words count."""
    pairs = [(c, s) for c in COLOURS for s in SHAPES]
    seen = [p for p in pairs if p not in HELD_OUT_PAIRS]
    if split == "unseen_pairs":
        first = sorted(HELD_OUT_PAIRS)[rng.integers(len(HELD_OUT_PAIRS))]
    else:
        first = seen[rng.integers(len(seen))]
    kinds = [first]
    while len(kinds) < 3:
        near = rng.random()
        options = [p for p in seen if p not in kinds]
        if near < 0.25:
            options = [p for p in options if p[0] == first[0]]
        elif near < 0.55:
            options = [p for p in options if p[1] == first[1]]
        if options:
            kinds.append(options[rng.integers(len(options))])
    return [kinds[i] for i in rng.permutation(3)]


def _sample_halves(rng: np.random.Generator) -> np.ndarray:
    """float64[3] half sizes, each at least SIZE_RATIO from the next, in random order."""
    while True:
        halves = np.sort(rng.uniform(HALF_MIN_M, HALF_MAX_M, 3))
        if halves[1] >= SIZE_RATIO * halves[0] and halves[2] >= SIZE_RATIO * halves[1]:
            return rng.permutation(halves)


def _sample_places(rng: np.random.Generator, halves: np.ndarray):
    """(objects float64[3, 2], tray, pad), or None when this draw did not fit."""
    margin = np.array([0.05, 0.04])
    tray = rng.uniform(REGION_LOWER + margin, REGION_UPPER - margin)
    pad = rng.uniform(REGION_LOWER + margin, REGION_UPPER - margin)
    if np.linalg.norm(tray - pad) < TRAY_HALF_M * 1.42 + PAD_RADIUS_M:
        return None
    placed: list[np.ndarray] = []
    for half in halves:
        for _ in range(40):
            xy = rng.uniform(REGION_LOWER, REGION_UPPER)
            if _free(xy, half, placed, halves, tray, pad):
                placed.append(xy)
                break
        else:
            return None
    return np.array(placed), tray, pad


def _free(xy, half, placed, halves, tray, pad) -> bool:
    for other, other_half in zip(placed, halves, strict=False):
        gap = np.abs(xy - other)
        widest = max(half, other_half)
        if gap[0] < FINGER_CLEARANCE_X_M + widest and gap[1] < FINGER_CLEARANCE_Y_M + widest:
            return False
        if np.linalg.norm(gap) < 0.055:
            return False
    gap = np.abs(xy - tray) - TRAY_HALF_M - 0.006
    if gap[0] < FINGER_CLEARANCE_X_M + half - 0.012 and gap[1] < FINGER_CLEARANCE_Y_M:
        return False
    return bool(np.linalg.norm(xy - pad) > PAD_RADIUS_M + half + 0.012)
