"""meta/stats.json with true quantiles, from all data of a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import replace_json
from vla_policy.data.lerobot.reader import DataSet, open_set
from vla_policy.data.lerobot.statistics import PixelHistogram, of_rows

SAMPLES = 8  # images per episode and camera to decode if no histogram is stored


def write_true_statistics(
    root: Path, tell: Callable[[int], None] = lambda episode: None
) -> dict[str, Any]:
    """Compute the statistics of the set below root from all its data and write them."""
    stats = true_statistics(open_set(root), tell)
    replace_json(root / layout.STATS, stats)
    return stats


def true_statistics(
    data: DataSet,
    tell: Callable[[int], None] = lambda episode: None,
    *,
    images: Mapping[str, PixelHistogram] | None = None,
) -> dict[str, Any]:
    """Statistics by feature. tell: called with each episode. Raises ValueError for a broken file.

    images: histograms by camera, if already counted.
    """
    columns: dict[str, list[np.ndarray]] = {}
    histograms = {c: PixelHistogram.empty() for c in data.cameras}
    for episode in range(len(data.entries)):
        tell(episode)
        for name, values in data.rows(episode).items():
            columns.setdefault(name, []).append(values.reshape(len(values), -1))
        for camera in () if images is not None else data.cameras:
            histograms[camera] += histogram_of(data, episode, camera)
    histograms = histograms if images is None else dict(images)
    found = {n: of_rows(np.concatenate(parts)) for n, parts in columns.items()}
    pictures = {data.camera_features[c]: h.statistics() for c, h in histograms.items() if h.images}
    shaped = {n: _shaped(s, data.features[n]["shape"]) for n, s in found.items() if s is not None}
    return shaped | pictures


def histogram_of(data: DataSet, episode: int, camera: str) -> PixelHistogram:
    """The pixels of one episode and camera: as counted during recording, else of some images."""
    kept = data.own_episode(episode).get("image_histograms", {}).get(camera)
    if kept is not None:
        return PixelHistogram(np.array(kept["counts"], np.int64), int(kept["images"]))
    total, length = PixelHistogram.empty(), data.entries[episode].length
    for number in np.unique(np.linspace(0, length - 1, SAMPLES).round().astype(int)).tolist():
        total = total.with_image(data.image(episode, number, camera))
    return total


def _shaped(stats: dict[str, Any], shape: list[int]) -> dict[str, Any]:
    return {k: v if k == "count" else np.reshape(v, shape).tolist() for k, v in stats.items()}
