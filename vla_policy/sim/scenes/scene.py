"""Objects and appearance of a scene, drawn from a seed. Pure numbers, no physics.

Lengths in metres, in base_link: x forward over the table, y left of the robot, z up, table at z=0.
The front camera looks back at the robot, so image left is smaller y and image right is larger y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_policy.sim.scenes.appearance import Looks, sample_looks
from vla_policy.sim.scenes.placement import (
    PAD_RADIUS_M,
    PLACES,
    REGION_LOWER,
    REGION_UPPER,
    TRAY_HALF_M,
    TRAY_RIM_M,
)
from vla_policy.sim.twin import Twin, find_twin

__all__ = ["PAD_RADIUS_M", "REGION_LOWER", "REGION_UPPER", "TRAY_HALF_M", "TRAY_RIM_M"]

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("cube", "cylinder", "ball")
DESTINATIONS = ("tray", "pad")
# Drawn only in the split of that name: for adapting a policy to it.
NEW_COLOUR = "white"
SPLITS = ("train", "unseen_pairs", "moved_camera", "other_table", "new_object")
# Never shown while training; the split "unseen_pairs" always contains one of them.
HELD_OUT_PAIRS = frozenset({("red", "ball"), ("blue", "cube"), ("yellow", "cylinder")})

HALF_MIN_M, HALF_MAX_M = 0.0135, 0.025
SIZE_RATIO = 1.16


CARD_PX = 64
CARD_LENGTH = 1.3  # length of a box with a card along x, in widths


@dataclass(frozen=True, slots=True)
class Card:
    """A picture with a name. pixels: of uint8[64, 64, 3], upright to the front camera."""

    name: str
    pixels: bytes

    @property
    def paper(self) -> tuple[int, int, int]:
        """Colour of its first corner."""
        r, g, b = self.pixels[:3]
        return r, g, b


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: half_m is half the edge of a cube, the radius (and half height) of the others.

    card: the picture on top of a cube, which is then CARD_LENGTH times as long along x.
    """

    colour: str
    shape: str
    half_m: float
    xy: tuple[float, float]
    yaw_rad: float
    rgb: tuple[float, float, float]
    card: Card | None = None

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}" if self.card is None else self.card.name


@dataclass(frozen=True, slots=True)
class Scene:
    """One seeded start. tray_xy and pad_xy are centres; home_xyz is the first tool's start.

    robot: name of the simulated robot. more_homes: starts of further tools. turned_rad: yaw of
    tray and pad in the base frame, nonzero only after a base has moved.
    """

    seed: int
    split: str
    objects: tuple[SceneObject, ...]
    tray_xy: tuple[float, float]
    pad_xy: tuple[float, float]
    home_xyz: tuple[float, float, float]
    looks: Looks
    robot: str = "vx300s"
    more_homes: tuple[tuple[float, float, float], ...] = ()
    turned_rad: float = 0.0

    @property
    def twin(self) -> Twin:
        return find_twin(self.robot)

    @property
    def homes(self) -> tuple[tuple[float, float, float], ...]:
        """Start positions of all tools."""
        return (self.home_xyz, *self.more_homes)

    def destination_xyz(self, name: str) -> np.ndarray:
        """float64[3] centre of "tray" or "pad" on the table."""
        if name not in DESTINATIONS:
            raise ValueError(
                f"destination: got {name!r}, expected one of {', '.join(DESTINATIONS)}"
            )
        return np.array([*(self.tray_xy if name == "tray" else self.pad_xy), 0.0])


def new_object(scene: Scene) -> int | None:
    """The object of the colour that is never trained, in scenes of the split "new_object"."""
    return next((i for i, o in enumerate(scene.objects) if o.colour == NEW_COLOUR), None)


def seen_from(scene: Scene, base: np.ndarray) -> Scene:
    """scene in the frame of a base at float64[3] x, y, yaw of the original frame."""
    turn = turn_matrix(-base[2])

    def place(xy: tuple[float, float]) -> tuple[float, float]:
        x, y = turn @ (np.asarray(xy) - base[:2])
        return float(x), float(y)

    objects = tuple(
        replace(o, xy=place(o.xy), yaw_rad=o.yaw_rad - float(base[2])) for o in scene.objects
    )
    return replace(
        scene,
        objects=objects,
        tray_xy=place(scene.tray_xy),
        pad_xy=place(scene.pad_xy),
        turned_rad=scene.turned_rad - float(base[2]),
    )


def turn_matrix(angle_rad: float) -> np.ndarray:
    """float64[2, 2] rotation of x, y by an angle about z."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s], [s, c]])


def sample_scene(seed: int, *, split: str = "train", robot: str = "vx300s") -> Scene:
    """Draw a scene of three objects, a tray and a pad; the same arguments give the same scene.

    Raises ValueError for an unknown split or robot, or a negative seed.
    """
    twin = find_twin(robot)
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed: got {seed}, expected >= 0")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    kinds = _sample_kinds(rng, split)
    halves = _sample_halves(rng)
    places = None
    while places is None:
        places = PLACES[robot](rng, halves)
    objects_xy, tray_xy, pad_xy, yaws = places
    objects = tuple(
        SceneObject(
            colour,
            shape,
            float(half),
            (float(xy[0]), float(xy[1])),
            float(yaw + rng.uniform(-0.25, 0.25)),
            _jitter_colour(colour, rng),
        )
        for (colour, shape), half, xy, yaw in zip(kinds, halves, objects_xy, yaws, strict=True)
    )
    homes = [
        _triple(np.array(home) + rng.uniform(twin.home_lower, twin.home_upper))
        for home in twin.homes
    ]
    return Scene(
        seed,
        split,
        objects,
        (float(tray_xy[0]), float(tray_xy[1])),
        (float(pad_xy[0]), float(pad_xy[1])),
        homes[0],
        sample_looks(rng, split, twin.front),
        robot,
        tuple(homes[1:]),
    )


BASE_RGB = {
    "red": (0.85, 0.10, 0.10),
    "green": (0.12, 0.65, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.92, 0.85, 0.12),
    "purple": (0.52, 0.14, 0.66),
    "orange": (0.97, 0.48, 0.06),
    NEW_COLOUR: (0.95, 0.95, 0.95),
}


def _jitter_colour(colour: str, rng: np.random.Generator) -> tuple[float, float, float]:
    rgb = np.array(BASE_RGB[colour]) * rng.uniform(0.85, 1.05) + rng.uniform(-0.04, 0.04, 3)
    return _triple(np.clip(rgb, 0.0, 1.0))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _sample_kinds(rng: np.random.Generator, split: str) -> list[tuple[str, str]]:
    """Three different colour-shape pairs; some often share one, so both words matter."""
    pairs = [(c, s) for c in COLOURS for s in SHAPES]
    seen = [p for p in pairs if p not in HELD_OUT_PAIRS]
    if split == "new_object":  # among others of its shape, so that the new word matters
        shape = SHAPES[rng.integers(len(SHAPES))]
        others = [p for p in seen if p[1] == shape]
        drawn = [others[i] for i in rng.permutation(len(others))[:2]]
        kinds = [(NEW_COLOUR, shape), *drawn]
        return [kinds[i] for i in rng.permutation(3)]
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
