"""Images of one camera in one episode: repeated, blank, of another size; and a signature.

Each image is reduced to a thumbnail; of earlier images only one thumbnail is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from vla_policy.data.checks.episode_data import CameraSummary, EpisodeRows, StillRun
from vla_policy.data.checks.finding import DataFinding, doubt
from vla_policy.data.lerobot.layout import ACTION, STATE
from vla_policy.embodiment.findings import count
from vla_policy.types import Array

WIDTH, HEIGHT = 32, 24  # of a thumbnail
SAME = 2.0  # of 255, largest change in a block of four cells between two encodings of one image
FEWEST, FEWEST_S = 3, 0.2  # repetitions, and their duration, from which a run is checked
AROUND, NOTHING = 4, 0.1  # steps on either side of a run; mean change, of 255, that counts as none
BLANK = 2.0  # of 255, deviation within an image without content


def thumbnail(image: Array) -> Array:
    """float32[24, 32, 3] YUV of uint8[h, w, 3] RGB: the mean of each cell."""
    small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2YUV), np.float32)


@dataclass
class CameraPass:
    """Accumulates the images of one camera in one episode, in order; add() each, then end()."""

    camera: str
    rows: EpisodeRows
    size: tuple[int, int] = (0, 0)
    still: list[StillRun] = field(default_factory=list)
    _number: int = 0
    _first: int = 0
    _anchor: Array | None = None
    _before: Array | None = None
    _sum: Array | None = None
    _blank: list[int] = field(default_factory=list)
    _changes: list[float] = field(default_factory=list)
    _means: list[float] = field(default_factory=list)

    def add(self, small: Array) -> None:
        """Add the thumbnail of the next image."""
        light = small[..., 0]
        self._sum = small.astype(np.float64) if self._sum is None else self._sum + small
        if float(light.std()) < BLANK:
            self._blank.append(self._number)
        blocks = light.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3))
        if self._before is not None:
            change = np.abs(blocks - self._before)
            self._changes.append(float(change.max()))
            self._means.append(float(change.mean()))
        if self._anchor is None or float(np.abs(blocks - self._anchor).max()) > SAME:
            self._close()
            self._anchor, self._first = blocks, self._number
        self._before = blocks
        self._number += 1

    def end(self) -> CameraSummary | None:
        """The summary; None without images."""
        self._close()
        if self._sum is None:
            return None
        self.still = [replace(run, jump=self._jump(run)) for run in self.still]
        changes = float(np.quantile(self._changes, 0.75)) if self._changes else 0.0
        mean = (self._sum / self._number).astype(np.float32)
        return CameraSummary(mean, changes, self._number, self.size)

    def findings(self) -> Iterator[DataFinding]:
        """Images without content."""
        if self._blank:
            yield doubt(
                "blank",
                f"camera {self.camera} shows one colour in {count(len(self._blank), 'frame')}",
                "Look at it with `vla data view`; delete the episode if the camera failed",
                frame=self._blank[0],
                frames=len(self._blank),
            )

    def _jump(self, run: StillRun) -> float | None:
        """The change at the end of a run, in usual changes of the images before and after it."""
        means = np.array(self._means)  # of the step from image k to k + 1
        if run.last >= len(means):
            return None
        after = means[run.last + 1 : run.last + 1 + AROUND]
        before = means[max(0, run.first - 1 - AROUND) : run.first - 1]
        around = np.concatenate((after, before))
        around = around[around > NOTHING]
        return float(means[run.last] / np.median(around)) if len(around) else None

    def _close(self) -> None:
        """Keep the run of equal images that ends before the current one, if it is long."""
        last = min(self._number, len(self.rows)) - 1
        repeats = last - self._first
        if self._anchor is None or repeats < max(FEWEST, FEWEST_S * self.rows.fps):
            return
        part = slice(self._first, last + 1)
        moved = {}
        for feature in (STATE, ACTION):
            table = self.rows.table(feature)
            if table is not None:
                # One row that leaps is no motion: use the median step times the number of steps.
                steps = np.abs(np.diff(table[part], axis=0))
                moved[feature] = np.median(steps, axis=0) * len(steps)
        valid = self.rows.columns.get("frame_valid")
        flagged = valid is not None and not np.asarray(valid[self._first + 1 : last + 1]).any()
        self.still.append(StillRun(self.camera, self._first + 1, last, moved, flagged))
