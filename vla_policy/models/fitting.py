"""Images made to fit the shape that a model takes: scaled, with black bars. Needs OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from vla_policy.types import Array


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
