"""Positions of objects, tray and pad, one function for each robot.

Each function draws once: (objects float64[n, 2], tray, pad, yaws float64[n]), or None if the draw
did not fit. yaws: approximate rotation of the objects, so that fingers can close on them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_policy.sim.scenes.base_reach import BASE_RADIUS_M, STAND_M, stand_at

TRAY_HALF_M = 0.06  # inside, to the rim
TRAY_RIM_M = 0.016  # height
PAD_RADIUS_M = 0.055
REGION_LOWER = np.array([0.19, -0.21])
REGION_UPPER = np.array([0.44, 0.21])
# The fingers open along y and descend beside an object.
FINGER_CLEARANCE_Y_M = 0.070
FINGER_CLEARANCE_X_M = 0.020

# For the pair: each object on one side or the other, tray and pad within reach of both arms.
PAIR_LOWER, PAIR_UPPER = np.array([0.20, 0.05]), np.array([0.43, 0.30])
SHARED_LOWER, SHARED_UPPER = np.array([0.24, -0.12]), np.array([0.40, 0.12])
# For the base: an area of the floor, its near edge PATCH_NEAR_M away or up to PATCH_AWAY_M more.
PATCH_NEAR_M, PATCH_M, PATCH_HALF_WIDTH_M, PATCH_AWAY_M = 0.26, 0.30, 0.26, 0.26
_IN_VIEW_LOWER, _IN_VIEW_UPPER = np.array([0.22, -0.33]), np.array([0.86, 0.33])
_STRIP_M = BASE_RADIUS_M + 0.02

Places = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def on_the_table(rng: np.random.Generator, halves: np.ndarray) -> Places | None:
    """In front of one stationary arm."""
    margin = np.array([0.05, 0.04])
    tray = rng.uniform(REGION_LOWER + margin, REGION_UPPER - margin)
    pad = rng.uniform(REGION_LOWER + margin, REGION_UPPER - margin)
    if np.linalg.norm(tray - pad) < TRAY_HALF_M * 1.42 + PAD_RADIUS_M:
        return None
    objects = _scatter(
        halves, tray, pad, draw=lambda: rng.uniform(REGION_LOWER, REGION_UPPER), free=_free
    )
    return None if objects is None else (objects, tray, pad, np.zeros(len(halves)))


def between_two_arms(rng: np.random.Generator, halves: np.ndarray) -> Places | None:
    """In front of a pair of arms."""
    tray, pad = rng.uniform(SHARED_LOWER, SHARED_UPPER), rng.uniform(SHARED_LOWER, SHARED_UPPER)
    if np.linalg.norm(tray - pad) < TRAY_HALF_M * 1.42 + PAD_RADIUS_M:
        return None

    def draw() -> np.ndarray:
        xy: np.ndarray = rng.uniform(PAIR_LOWER, PAIR_UPPER) * [1.0, rng.choice([-1.0, 1.0])]
        return xy

    objects = _scatter(halves, tray, pad, draw=draw, free=_free)
    return None if objects is None else (objects, tray, pad, np.zeros(len(halves)))


def on_the_floor(rng: np.random.Generator, halves: np.ndarray) -> Places | None:
    """In front of a base at the origin, partly outside its arm's reach.

    Wherever the base has to drive for one object and then for tray or pad, its path is clear and
    the destination is in the camera's view.
    """
    near = PATCH_NEAR_M + rng.uniform(0, PATCH_AWAY_M)
    lower = np.array([near, -PATCH_HALF_WIDTH_M])
    upper = np.array([near + PATCH_M, PATCH_HALF_WIDTH_M])
    margin = np.array([0.06, 0.04])
    tray, pad = rng.uniform(lower + margin, upper - margin), rng.uniform(lower + margin, upper)
    if np.linalg.norm(tray - pad) < TRAY_HALF_M * 1.42 + PAD_RADIUS_M:
        return None
    objects = _scatter(
        halves, tray, pad, draw=lambda: rng.uniform(lower, upper), free=_free_from_any_side
    )
    if objects is None or not _ways_are_clear(objects, halves, tray, pad):
        return None
    return objects, tray, pad, np.arctan2(objects[:, 1], objects[:, 0])


PLACES: dict[str, Callable[[np.random.Generator, np.ndarray], Places | None]] = {
    "vx300s": on_the_table,
    "vx300s_pair": between_two_arms,
    "vx300s_mobile": on_the_floor,
}


def _scatter(
    halves: np.ndarray,
    tray: np.ndarray,
    pad: np.ndarray,
    *,
    draw: Callable[[], np.ndarray],
    free: Callable[
        [np.ndarray, float, list[np.ndarray], np.ndarray, np.ndarray, np.ndarray], bool
    ],
) -> np.ndarray | None:
    placed: list[np.ndarray] = []
    for half in halves:
        for _ in range(40):
            xy = draw()
            if free(xy, half, placed, halves, tray, pad):
                placed.append(xy)
                break
        else:
            return None
    return np.array(placed)


def _free(
    xy: np.ndarray,
    half: float,
    placed: list[np.ndarray],
    halves: np.ndarray,
    tray: np.ndarray,
    pad: np.ndarray,
) -> bool:
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


def _free_from_any_side(
    xy: np.ndarray,
    half: float,
    placed: list[np.ndarray],
    halves: np.ndarray,
    tray: np.ndarray,
    pad: np.ndarray,
) -> bool:
    """Like _free, for fingers that may open along any direction."""
    for other, other_half in zip(placed, halves, strict=False):
        if np.linalg.norm(xy - other) < FINGER_CLEARANCE_Y_M + max(half, other_half):
            return False
    gap = np.maximum(np.abs(xy - tray) - TRAY_HALF_M - 0.006, 0.0)
    if np.linalg.norm(gap) < FINGER_CLEARANCE_Y_M - 0.012:
        return False
    return bool(np.linalg.norm(xy - pad) > PAD_RADIUS_M + half + 0.012)


def _ways_are_clear(
    objects: np.ndarray, halves: np.ndarray, tray: np.ndarray, pad: np.ndarray
) -> bool:
    start = np.zeros(3)
    for index, xy in enumerate(objects):
        others = [(objects[i], halves[i] * 1.42) for i in range(len(objects)) if i != index]
        obstacles = [*others, (tray, TRAY_HALF_M * 1.5)]
        here = stand_at(start, xy)
        if not _way_is_clear(start, here, [*obstacles, (xy, halves[index] * 1.42)]):
            return False
        for goal, is_tray in ((tray, True), (pad, False)):
            local = _local(here, goal)
            if not ((_IN_VIEW_LOWER <= local) & (local <= _IN_VIEW_UPPER)).all():
                return False
            left = others if is_tray else obstacles
            if not _way_is_clear(here, stand_at(here, goal), left):
                return False
            if np.linalg.norm(goal - stand_at(here, goal)[:2]) < STAND_M[0] - 0.01:
                return False
    return True


def _way_is_clear(
    start: np.ndarray, end: np.ndarray, obstacles: list[tuple[np.ndarray, float]]
) -> bool:
    """Whether the round base can drive from start to end, x y yaw, without touching anything."""
    way = start[:2] + np.linspace(0, 1, 12)[:, None] * (end - start)[:2]
    return all(
        np.linalg.norm(way - xy, axis=1).min() > _STRIP_M + radius for xy, radius in obstacles
    )


def _local(base: np.ndarray, xy: np.ndarray) -> np.ndarray:
    c, s = np.cos(base[2]), np.sin(base[2])
    x, y = xy - base[:2]
    return np.array([c * x + s * y, c * y - s * x])
