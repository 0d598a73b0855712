"""Images made to fit the shape that a model takes: scaled, with black bars. Needs OpenCV and Pillow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from vla_policy.types import Array


@dataclass(frozen=True, slots=True)
class Scaling:
    """How a policy makes images smaller: until the longer side is side_px, with a filter (antialias) or without."""

    side_px: int
    antialias: bool


def scaled_down(image: Array, scaling: Scaling) -> Array:
    """uint8[h, w, 3] as scaling says, rounded to whole levels; as it is where that would not make it smaller.

    What the policy then makes of it differs from what it makes of image by this rounding alone: half a level, with a filter
    one. Bars are the policy's.
    """
    ratio = max(image.shape[:2]) / scaling.side_px
    h, w = (int(n / ratio) for n in image.shape[:2])
    if not ratio > 1.0 or max(h, w) != scaling.side_px or min(h, w) < 1:
        return image
    if scaling.antialias:
        return np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
    exact = cv2.resize(image.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    rounded: Array = np.rint(exact).astype(np.uint8)
    return rounded


def with_bars(image: Array, size: tuple[int, int]) -> Array:
    """uint8[h, w, 3] scaled into uint8[*size, 3], black where its shape differs."""
    if image.shape[:2] == size:
        return image
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    h, w = (max(1, round(n * scale)) for n in image.shape[:2])
    scaled = cv2.resize(
        image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    out = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - h) // 2, (size[1] - w) // 2
    out[top : top + h, left : left + w] = scaled
    return out
