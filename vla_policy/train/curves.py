"""curves.png of a run: its logged values over the steps, one panel each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_policy.data.lerobot.durable import replace_file
from vla_policy.types import Array

WIDTH, HEIGHT, MARGIN, COLUMNS = 360, 240, 44, 3  # px, px, px, panels side by side
INK, GRID, TEXT = (150, 90, 20), (225, 225, 225), (40, 40, 40)  # BGR
NOT_DRAWN = ("step", "seconds")


def write_curves(out: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Replace OUT/curves.png; without lines nothing is written."""
    keys = dict.fromkeys(key for line in lines for key in line if key not in NOT_DRAWN)
    panels = [panel(key, [(x["step"], x[key]) for x in lines if key in x]) for key in keys]
    if not panels:
        return
    blank = np.full_like(panels[0], 255)
    panels += [blank] * (-len(panels) % COLUMNS)
    rows = [np.hstack(panels[i : i + COLUMNS]) for i in range(0, len(panels), COLUMNS)]
    written, data = cv2.imencode(".png", np.vstack(rows))
    if written:
        replace_file(out / "curves.png", data.tobytes())


def panel(name: str, points: Sequence[tuple[int, float]]) -> Array:
    """uint8[HEIGHT, WIDTH, 3] BGR: one curve, from its minimum to its maximum."""
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    steps, values = np.array(points, dtype=np.float64).T
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    x = MARGIN + (WIDTH - MARGIN - 12) * steps / max(steps.max(), 1.0)
    y = HEIGHT - MARGIN + (2 * MARGIN - HEIGHT) * (values - low) / span
    for part in range(5):
        level = round(HEIGHT - MARGIN + (2 * MARGIN - HEIGHT) * part / 4)
        cv2.line(picture, (MARGIN, level), (WIDTH - 12, level), GRID, 1)
        _write(picture, f"{low + span * part / 4:.3g}", (2, level + 4))
    _write(picture, f"{steps.max():.0f} steps", (WIDTH - 90, HEIGHT - MARGIN + 18))
    _write(picture, name, (MARGIN, MARGIN - 20))
    line = np.round(np.stack((x, y), 1)).astype(np.int32)
    cv2.polylines(picture, [line], False, INK, 2, cv2.LINE_AA)
    return picture


def _write(picture: Array, words: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, TEXT, 1, cv2.LINE_AA)
