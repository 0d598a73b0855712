"""Camera pictures to the square that a vision tower reads."""

from __future__ import annotations

import cv2
import numpy as np

from ..types import Array


def fit_square(image: Array, side_px: int) -> Array:
    """uint8[h, w, 3] scaled to fit uint8[side, side, 3], with black bars where it is not square."""
    if image.shape[:2] == (side_px, side_px):
        return np.ascontiguousarray(image)
    scale = side_px / max(image.shape[:2])
    h, w = (max(1, round(n * scale)) for n in image.shape[:2])
    scaled = cv2.resize(
        image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    out = np.zeros((side_px, side_px, 3), np.uint8)
    top, left = (side_px - h) // 2, (side_px - w) // 2
    out[top : top + h, left : left + w] = scaled
    return out
