"""Where points of a robot's base frame are in the image of a camera that stands still in it."""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment.description import View
from vla_policy.types import Array


def projected(view: View, xyz: Array) -> Array:
    """float64[n, 3] in the base frame, m -> float64[n, 2] in the image; NaN for what is not before the camera.

    Right and down from the middle of the image, in halves of its height: (0, 1) is the middle of the lower edge.
    Pixels are square and the lens looks at the middle.
    """
    forward = _unit(np.subtract(view.target, view.position))
    right = _unit(np.cross(forward, view.up))
    down = np.cross(forward, right)
    way = np.subtract(xyz, view.position)
    half_height = way @ forward * np.tan(np.radians(view.fovy_deg) / 2)
    before = half_height > 0.0
    found = np.full((len(way), 2), np.nan)
    found[before] = np.stack((way @ right, way @ down), 1)[before] / half_height[before, None]
    return found


def _unit(vector: Array) -> Array:
    found: Array = vector / np.linalg.norm(vector)
    return found
