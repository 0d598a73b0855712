"""Location of the demonstrated object in the front images.

A camera fitted on base scenes gives it roughly; its pose may differ a little from scene to scene. Several images of a demonstration
show the object at rest at one spot: there it is the region that stands out from its surroundings. In the gripper it is
the projection, corrected by those spots.
"""

from __future__ import annotations

import cv2
import numpy as np

from vla_policy.train.tiny.camera_fit import projected
from vla_policy.train.tiny.demonstrated_thing import ShownThing
from vla_policy.types import Array

NEAR_PX = 8.0  # of the rough location
RING_PX = (9, 12)  # of its surroundings
HALF = 0.5  # of the largest difference
PIXELS = 6  # smallest number in an object


def front_places(shown: ShownThing, camera: Array) -> Array:
    """float64[n, 2], of the object in each frame. camera: float64[3, 4] of the base frame, fitted on base scenes (camera_fit.py)."""
    said, _ = projected(camera, shown.xyz)
    found, known = said.copy(), np.zeros(len(shown), bool)
    spots = np.concatenate((shown.episode[:, None], shown.xyz), axis=1)
    for spot in np.unique(spots[shown.free], axis=0):
        here = (spots == spot).all(1)
        seen = [standing_out(shown.front[i], said[i]) for i in np.flatnonzero(here & shown.free)]
        if out := [place for place in seen if place is not None]:
            found[here], known[here] = np.median(out, axis=0), True
    for episode in np.unique(shown.episode[known]):
        own = shown.episode == episode
        off = np.mean((found - said)[own & known], axis=0)
        found[own & ~known] = said[own & ~known] + off
    return found


def standing_out(image: Array, uv: Array) -> Array | None:
    """float64[2]: centre of the region nearest to uv that differs from its surroundings, in uint8[h, w, 3]; None without one."""
    height, width = image.shape[:2]
    v, u = np.mgrid[:height, :width] + 0.5
    away = np.hypot(u - uv[0] * width, v - uv[1] * height)
    ring = (away >= RING_PX[0]) & (away <= RING_PX[1])
    near = away <= NEAR_PX
    if not ring.any() or not near.any():
        return None
    apart = np.linalg.norm(image - np.median(image[ring], axis=0), axis=-1)
    out = near & (apart > HALF * apart[near].max())
    _, region, counts, middles = cv2.connectedComponentsWithStats(out.astype(np.uint8))
    large = [k for k in range(1, len(middles)) if counts[k, cv2.CC_STAT_AREA] >= PIXELS]
    if not large:
        return None
    nearest = min(large, key=lambda k: float(away[region == k].min()))
    place: Array = (middles[nearest] + 0.5) / (width, height)
    return place
