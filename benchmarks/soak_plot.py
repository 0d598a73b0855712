"""The picture of benchmarks/soak.py: memory and open descriptors of each node over the time of the run.

python benchmarks/soak_plot.py benchmarks/soak.json docs/images/soak.png
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
GREY, BLACK = (205, 205, 205), (30, 30, 30)
COLOURS = ((40, 40, 200), (40, 140, 40), (200, 90, 30), (160, 40, 160), (30, 140, 200))  # BGR
W, H, LEFT, RIGHT, TOP, BOTTOM = 560, 340, 70, 20, 40, 40  # px, of one panel


def draw_soak(samples: list[dict], target: Path) -> None:
    """Two panels side by side, one line per node."""
    memory = _panel(samples, "resident memory, MiB", lambda node: node["rss_kb"] / 1024.0)
    files = _panel(samples, "open file descriptors", lambda node: node["files"])
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.concatenate((memory, files), axis=1))


def _panel(samples: list[dict], title: str, value) -> np.ndarray:
    picture = np.full((H, W, 3), 255, np.uint8)
    minutes = np.array([s["s"] for s in samples]) / 60.0
    nodes = list(samples[0]["nodes"])
    series = {n: np.array([value(s["nodes"][n]) for s in samples], dtype=float) for n in nodes}
    top = 1.15 * max(values.max() for values in series.values())
    across = LEFT + minutes / minutes.max() * (W - LEFT - RIGHT)
    for share in np.linspace(0.0, 1.0, 5):
        y = round(H - BOTTOM - share * (H - BOTTOM - TOP))
        cv2.line(picture, (LEFT, y), (W - RIGHT, y), GREY, 1)
        _text(picture, f"{share * top:.0f}", (12, y + 4), BLACK)
        x = round(LEFT + share * (W - LEFT - RIGHT))
        _text(picture, f"{share * minutes.max():.0f} min", (x - 20, H - 14), BLACK)
    _text(picture, title, (LEFT, 22), BLACK)
    for i, (name, values) in enumerate(series.items()):
        up = H - BOTTOM - values / top * (H - BOTTOM - TOP)
        points = np.stack((across, up), axis=1).round().astype(np.int32)
        cv2.polylines(picture, [points], False, COLOURS[i % len(COLOURS)], 2, cv2.LINE_AA)
        _text(picture, name, (LEFT + 190 + 65 * i, 22), COLOURS[i % len(COLOURS)])
    return picture


def _text(picture: np.ndarray, words: str, at: tuple[int, int], colour) -> None:
    cv2.putText(picture, words, at, FONT, 0.45, colour, 1, cv2.LINE_AA)


if __name__ == "__main__":
    draw_soak(json.loads(Path(sys.argv[1]).read_text())["samples"], Path(sys.argv[2]))
