"""One episode as input of the checks, for every source, and the checks' intermediate results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.lerobot.layout import DEFAULTS, FLAGS
from vla_policy.types import Array

# Columns that number or flag rows; policies learn from all others.
BOOKKEEPING = frozenset((*DEFAULTS, *FLAGS))


@dataclass(frozen=True, slots=True)
class EpisodeRows:
    """The numbers of an episode.

    columns: feature -> [n] or [n, d]. names: feature -> column names.
    start: index of its first row in the set, None if the source has no running index.
    stamps_ns: measured times of the rows; None if not stored. tasks: all of the set. named: those
    of this episode.
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
        """float64[n, d] of a feature; None if it is missing."""
        values = self.columns.get(feature)
        if values is None:
            return None
        return np.asarray(values, np.float64).reshape(len(values), -1)

    @property
    def features(self) -> tuple[str, ...]:
        """The numeric features that policies learn from."""
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
    """Sums over a feature's columns in one episode: float64[d] each, over rows that are finite.

    below: quantile -> int64[2, d], rows below its stored value, and rows not above it.
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
    """A camera that repeated one image in frames first to last while other values changed.

    moved: feature -> float64[d], motion of each column meanwhile. flagged: the rows are marked
    invalid.
    jump: difference of the next image, in usual changes between the images around it: a camera
    that was frozen shows all missed motion at once. None if the episode ends before.
    """

    camera: str
    first: int
    last: int
    moved: Mapping[str, Array]
    flagged: bool
    jump: float | None = None


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """Summary of a camera in one episode.

    signature: float32[h, w, 3] YUV, the mean image, 0 to 255.
    changes: the usual largest change from image to image; frames: number of images used.
    """

    signature: Array
    changes: float
    frames: int
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class EpisodeReport:
    """Result of one pass over an episode: findings, and data for judging the set."""

    episode: int
    findings: tuple[DataFinding, ...]
    length: int
    task: str = ""
    robot: str = ""
    sums: Mapping[str, ColumnSums] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    still: tuple[StillRun, ...] = ()
    cameras: Mapping[str, CameraSummary] = field(default_factory=dict)
