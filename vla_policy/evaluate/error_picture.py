"""The errors of a comparison as an image: over time ahead, and over the episode, by column."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vla_policy.evaluate.recorded import Errors
from vla_policy.types import Array

WIDTH, ROW, PAD = 480, 70, 30
INK, FRAME = (170, 60, 20), (200, 200, 200)  # BGR


def write_picture(path: Path, errors: Errors) -> None:
    """A PNG. Raises OSError if it cannot be written."""
    height = PAD + len(errors.columns) * (ROW + PAD)
    image = np.full((height, 2 * (WIDTH + PAD) + PAD, 3), 255, np.uint8)
    bins = np.arange(0.0, float(errors.at_s.max()) + 0.5, 0.5)
    place = np.digitize(errors.at_s, bins)
    for i, name in enumerate(errors.columns):
        top = PAD + i * (ROW + PAD)
        ahead = _means([errors.values[:, k, i] for k in range(len(errors.ahead_s))])
        along = _means([errors.values[place == b, :, i] for b in range(1, len(bins) + 1)])
        _line(image, PAD, top, ahead, f"{name}, to +{errors.ahead_s[-1]:.1f} s")
        _line(image, 2 * PAD + WIDTH, top, along, f"{name}, 0 to {bins[-1]:.1f} s of the episode")
    done, data = cv2.imencode(".png", image)
    if not done:
        raise OSError(f"{path}: the picture cannot be encoded")
    path.write_bytes(data.tobytes())


def _means(groups: list[Array]) -> Array:
    return np.array([np.nanmean(g) if np.isfinite(g).any() else np.nan for g in groups])


def _line(image: Array, left: int, top: int, values: Array, words: str) -> None:
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    cv2.rectangle(image, (left, top), (left + WIDTH, top + ROW), FRAME)
    text = f"{words}: at most {most:.4f}"
    cv2.putText(image, text, (left, top - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    x = left + np.linspace(0, WIDTH, len(values))
    y = top + ROW - 2 - (ROW - 6) * values / (most or 1.0)
    points = np.stack([x, y], axis=1)[np.isfinite(values)].round().astype(np.int32)
    cv2.polylines(image, [points], False, INK, 2, cv2.LINE_AA)
