"""Statistics of data sets: minimum, maximum, mean, deviation, true quantiles, as in stats.json.

Numbers are used exactly, from all rows. Images are sampled, some frames and some pixels of each,
as fractions of 255 per channel, and their quantiles are exact for those: a histogram of 256
values loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_policy.types import Array

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
IMAGE_SIDE = 150  # images are subsampled to about this many pixels


@dataclass(frozen=True, slots=True)
class PixelHistogram:
    """counts: int64[3, 256], pixels by channel and value. images: their number."""

    counts: Array
    images: int

    @classmethod
    def empty(cls) -> PixelHistogram:
        return cls(np.zeros((3, 256), np.int64), 0)

    def with_image(self, image: Array) -> PixelHistogram:
        """With one more image, uint8[h, w, 3]."""
        step = max(1, max(image.shape[:2]) // IMAGE_SIDE)
        thin = image[::step, ::step]
        counts = [np.bincount(thin[..., c].ravel(), minlength=256) for c in range(3)]
        return PixelHistogram(self.counts + np.stack(counts), self.images + 1)

    def __add__(self, other: PixelHistogram) -> PixelHistogram:
        return PixelHistogram(self.counts + other.counts, self.images + other.images)

    def statistics(self) -> dict[str, Any]:
        """In the form of stats.json: lists of shape (3, 1, 1), fractions of 255."""
        found = [_of_counts(c) for c in self.counts]
        shaped = {k: [[[f[k]]] for f in found] for k in found[0]}
        return shaped | {"count": [self.images]}


def _of_counts(counts: Array) -> dict[str, float]:
    total, values = counts.sum(), np.arange(256) / 255.0
    if total == 0:
        raise ValueError("statistics of images: got no image, expected one at least")
    seen = np.flatnonzero(counts)
    mean = float((counts * values).sum() / total)
    deviation = float(np.sqrt((counts * (values - mean) ** 2).sum() / total))
    below = np.cumsum(counts)
    quantiles = {
        k: values[int(np.searchsorted(below, q * (total - 1), "right"))]
        for k, q in QUANTILES.items()
    }
    ends = {"min": float(values[seen[0]]), "max": float(values[seen[-1]])}
    return ends | {"mean": mean, "std": deviation} | {k: float(v) for k, v in quantiles.items()}


def of_rows(rows: Array) -> dict[str, Any] | None:
    """Of [n] or [n, d] numbers, by column; None if no row is finite.

    Rows that are not finite do not count: a plan may be missing.
    """
    table = np.asarray(rows, np.float64).reshape(len(rows), -1)
    table = table[np.isfinite(table).all(1)]
    if not len(table):
        return None
    found = {"min": table.min(0), "max": table.max(0), "mean": table.mean(0), "std": table.std(0)}
    ranked = np.quantile(table, list(QUANTILES.values()), axis=0)
    found |= dict(zip(QUANTILES, ranked, strict=True))
    return {k: v.tolist() for k, v in found.items()} | {"count": [len(table)]}


def together(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of several episodes from each; quantiles are the outermost until recomputed.

    Source: mean and variance of a union, by counts.
    """
    every: Sequence[dict[str, Any]] = list(parts)
    counts = np.array([p["count"][0] for p in every], np.float64)
    means = np.array([p["mean"] for p in every], np.float64)
    squares = np.array([p["std"] for p in every], np.float64) ** 2
    weights = (counts / counts.sum()).reshape(-1, *[1] * (means.ndim - 1))
    mean = (weights * means).sum(0)
    variance = (weights * (squares + (means - mean) ** 2)).sum(0)
    found = {"mean": mean, "std": np.sqrt(variance)}
    for key in ("min", *(k for k, q in QUANTILES.items() if q <= 0.5)):
        found[key] = np.min([p[key] for p in every], axis=0)
    for key in ("max", *(k for k, q in QUANTILES.items() if q > 0.5)):
        found[key] = np.max([p[key] for p in every], axis=0)
    return {k: v.tolist() for k, v in found.items()} | {"count": [int(counts.sum())]}
