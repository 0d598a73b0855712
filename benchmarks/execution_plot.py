"""The pictures of benchmarks/execution.py: success over delay, and one motion with its seams."""

from pathlib import Path

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
GREY, BLACK = (205, 205, 205), (30, 30, 30)
COLOURS = (
    (40, 40, 200),
    (40, 140, 40),
    (200, 90, 30),
    (160, 40, 160),
    (30, 140, 200),
    (90, 90, 90),
)  # BGR
W, H, LEFT, TOP = 760, 400, 60, 40  # px


def draw_success(cells: list[dict], target: Path) -> None:
    """Success rate over the injected delay, one line per scheme, with the ends of the 95 % interval."""
    picture = np.full((H, W, 3), 255, np.uint8)
    delays = sorted({c["delay_ms"] for c in cells})
    across = {
        d: LEFT + round(i * (W - LEFT - 190) / max(1, len(delays) - 1))
        for i, d in enumerate(delays)
    }
    up = lambda rate: round(H - 40 - rate * (H - 40 - TOP))  # noqa: E731
    for rate in (0.0, 0.25, 0.5, 0.75, 1.0):
        cv2.line(picture, (LEFT, up(rate)), (W - 190, up(rate)), GREY, 1)
        _text(picture, f"{rate:.0%}", (12, up(rate) + 4), BLACK)
    for delay in delays:
        _text(picture, f"{delay} ms", (across[delay] - 16, H - 16), BLACK)
    _text(picture, "Success over injected delay", (LEFT, 20), BLACK)
    for i, scheme in enumerate(dict.fromkeys(c["scheme"] for c in cells)):
        colour, own = COLOURS[i % len(COLOURS)], [c for c in cells if c["scheme"] == scheme]
        points = [(across[c["delay_ms"]] + 3 * i, up(c["rate"])) for c in own]
        cv2.polylines(picture, [np.array(points)], False, colour, 2, cv2.LINE_AA)
        for point, cell in zip(points, own, strict=True):
            low, high = cell["interval"]
            cv2.line(picture, (point[0], up(low)), (point[0], up(high)), colour, 1)
        _text(picture, scheme, (W - 170, TOP + 22 * i + 10), colour)
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), picture)


def draw_seams(records: dict, target: Path) -> None:
    """Height, its velocity and jerk of the command in one trial per scheme; a line where a chunk came."""
    rows = (("z, m", 0), ("velocity, m/s", 1), ("jerk, m/s3", 3))
    panels = []
    for name, record in records.items():
        z, times = (
            np.array(record.positions)[:, 2],
            (np.array(record.times_ns) - record.times_ns[0]) / 1e9,
        )
        strip = []
        for title, order in rows:
            panel = np.full((130, W, 3), 255, np.uint8)
            values, at = np.diff(z, n=order) / 0.02**order, times[order:]
            low, high = float(values.min()), float(values.max()) + 1e-9
            span = max(at[-1], 1e-9)
            point = lambda t, v: (  # noqa: E731
                int(LEFT + t / span * (W - LEFT - 10)),  # noqa: B023
                int(112 - (v - low) / (high - low) * 92),  # noqa: B023
            )
            for at_ns, _ in record.chunks[1:]:
                t = (at_ns - record.times_ns[0]) / 1e9
                if 0 <= t <= span:
                    cv2.line(panel, point(t, low), point(t, high), GREY, 1)
            line = np.array([point(t, v) for t, v in zip(at, values, strict=True)])
            cv2.polylines(panel, [line], False, COLOURS[0], 1, cv2.LINE_AA)
            _text(panel, f"{name}: {title}, {low:.3g} to {high:.3g}", (LEFT, 12), BLACK)
            strip.append(panel)
        panels.append(np.concatenate(strip))
    if panels:
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), np.concatenate(panels))


def _text(
    picture: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    cv2.putText(picture, text, at, FONT, 0.42, colour, 1, cv2.LINE_AA)
