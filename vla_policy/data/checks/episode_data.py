"""One episode as the checks see it, whatever it was read from, and what they keep of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.lerobot.layout import DEFAULTS, FLAGS
from vla_policy.types import Array

# Columns that number or flag rows; everything else is what a policy learns of.
BOOKKEEPING = frozenset((*DEFAULTS, *FLAGS))


@dataclass(frozen=True, slots=True)
class EpisodeRows:
    """The numbers of an episode. columns: feature -> [n] or [n, d]. names: feature -> names of its columns.

    start: index of its first row in the set, None where the source does not count through.
    stamps_ns: measured times of the rows; None where they were not kept. tasks: all of the set. named: those of this episode.
    """

    episode: int
    columns: Mapping[str, Array]
    names: Mapping[str, tuple[str, ...]]
    fps: float
    start: int | None = None
    stamps_ns: Array | None = None
    tasks: tuple[str, ...] | None = None
    named: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def table(self, feature: str) -> Array | None:
        """float64[n, d] of a feature; None if there is none."""
        values = self.columns.get(feature)
        if values is None:
            return None
        return np.asarray(values, np.float64).reshape(len(values), -1)

    @property
    def features(self) -> tuple[str, ...]:
        """What a policy learns of, in numbers."""
        return tuple(
            n
            for n, v in self.columns.items()
            if n not in BOOKKEEPING and v.dtype.kind in "fiu" and len(v)
        )

    def name(self, feature: str, column: int) -> str:
        """A column as text."""
        names = self.names.get(feature, ())
        return f"{feature} {names[column]}" if column < len(names) else f"{feature}[{column}]"


@dataclass(frozen=True, slots=True)
class ColumnSums:
    """What is kept of the columns of a feature in one episode: float64[d] each, over rows that are finite.

    below: quantile -> int64[2, d], rows below the stored value of it, and rows not above it.
    """

    count: int
    minimum: Array
    maximum: Array
    median: Array
    total: Array
    squares: Array
    below: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StillRun:
    """A camera that showed the same image in frames first to last while others of its values went on.

    moved: feature -> float64[d], how far each column went meanwhile. flagged: the rows say themselves that they are invalid.
    jump: how far the next image is from the repeated one, in usual changes from image to image around it: a camera
    that was frozen shows all that it missed at once. None where the episode ends before.
    """

    camera: str
    first: int
    last: int
    moved: Mapping[str, Array]
    flagged: bool
    jump: float | None = None


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """What is kept of a camera in one episode. signature: float32[h, w, 3] YUV, the mean image, 0 to 255.

    changes: the usual largest change from image to image; frames: how many were looked at.
    """

    signature: Array
    changes: float
    frames: int
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class EpisodeReport:
    """What one pass over an episode gives: findings and what the set is judged by."""

    episode: int
    findings: tuple[DataFinding, ...]
    length: int
    task: str = ""
    robot: str = ""
    sums: Mapping[str, ColumnSums] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    still: tuple[StillRun, ...] = ()
    cameras: Mapping[str, CameraSummary] = field(default_factory=dict)
