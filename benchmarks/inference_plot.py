"""The growth curves of benchmarks/inference.py --curves as one picture.

python benchmarks/inference_plot.py benchmarks/inference_curves.json docs/images/inference_curves.png
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

PANEL, MARGIN, HEAD = 300, 52, 54  # px
COLOURS = {"ours, engine": (40, 120, 20), "transformers": (40, 40, 200)}  # BGR
GREY, BLACK = (200, 200, 200), (30, 30, 30)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def main() -> None:
    source, target = (Path(p) for p in sys.argv[1:3])
    report = json.loads(source.read_text())
    curves = {k: v for k, v in report["curves"].items() if isinstance(v, list)}
    picture = np.full((PANEL + HEAD, PANEL * len(curves), 3), 255, np.uint8)
    title = (
        f"Milliseconds a chunk, median and p10 to p90: {report['curves']['model']}, {report['curves']['precision']}, "
        f"{report['threads']} thread(s) of {report['machine']}, {report['date']}"
    )
    _text(picture, title, (10, 18), BLACK)
    for i, (name, colour) in enumerate(COLOURS.items()):
        _text(picture, name, (10 + 160 * i, 40), colour)
    for i, (name, points) in enumerate(curves.items()):
        draw(picture[HEAD:, i * PANEL : (i + 1) * PANEL], name, points)
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), picture)


def draw(panel: np.ndarray, name: str, points: list[dict]) -> None:
    """One curve per runtime over name; both axes from 0."""
    xs = [p[name] for p in points]
    top = 1.1 * max(p[k]["p90"] for p in points for k in COLOURS if k in p)

    def at(x: float, y: float) -> tuple[int, int]:
        inner = PANEL - 2 * MARGIN
        return round(MARGIN + inner * x / max(xs)), round(PANEL - MARGIN - inner * y / top)

    for part in range(5):
        level = top * part / 4
        cv2.line(panel, at(0, level), at(max(xs), level), GREY, 1)
        _text(panel, f"{level:.0f}", (4, at(0, level)[1] + 4), BLACK)
    for x in xs:
        _text(panel, str(x), (at(x, 0)[0] - 6, PANEL - MARGIN + 18), BLACK)
    _text(panel, name, (PANEL // 2 - 20, PANEL - 10), BLACK)
    for key, colour in COLOURS.items():
        line = np.array([at(x, p[key]["median"]) for x, p in zip(xs, points, strict=True)])
        cv2.polylines(panel, [line], False, colour, 2, cv2.LINE_AA)
        for x, p in zip(xs, points, strict=True):
            cv2.line(panel, at(x, p[key]["p10"]), at(x, p[key]["p90"]), colour, 1)
            cv2.circle(panel, at(x, p[key]["median"]), 3, colour, -1, cv2.LINE_AA)


def _text(picture: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, ...]) -> None:
    cv2.putText(picture, text, at, FONT, 0.4, colour, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
