"""A new set of version 3.0 from episodes of others: merging, splitting, editing, converting.

Rows are written again, one file per episode; videos are copied unchanged, never encoded again,
even if several episodes share one. The set is written beside its place and renamed once complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import (
    replace_json,
    replace_table,
    room_for,
    sync_file,
    sync_folder,
)
from vla_policy.data.lerobot.files import read_table
from vla_policy.data.lerobot.metadata import episode_row, rows_table, tasks_table
from vla_policy.data.lerobot.reader import DataSet, numbers, open_set
from vla_policy.data.lerobot.set_statistics import histogram_of, true_statistics
from vla_policy.data.lerobot.statistics import PixelHistogram, of_rows

Piece = tuple[DataSet, int]  # an episode of a set


@dataclass(frozen=True, slots=True)
class Changes:
    """tasks: old text -> new text.

    names: old feature -> new one. robot: its new name; '' keeps it.
    linked: videos are links to those of the source, for a set that replaces it.
    """

    tasks: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    robot: str = ""
    linked: bool = False


def rewrite(
    pieces: Sequence[Piece],
    target: Path,
    changes: Changes = Changes(),
    tell: Callable[[int], None] = lambda number: None,
) -> DataSet:
    """Write pieces as a set at target, which must not exist. tell: called with the number of each.

    Raises FileExistsError; ValueError if the pieces differ in form or a file is broken; DiskFull.
    Then target does not exist, and the sources are untouched in any case.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(
            f"{target}: there is something already; name a folder that is not there"
        )
    if not pieces:
        raise ValueError(f"{target}: no episode is left for it, expected one at least")
    _require_alike(pieces)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _Copy(pieces, partial, changes).write(tell)
        if target.exists():
            target.rmdir()
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(target.parent)
    return open_set(target)


def _require_alike(pieces: Sequence[Piece]) -> None:
    """All sets must have the same columns, rate, robot and codes."""
    first = pieces[0][0]
    for data in {id(d): d for d, _ in pieces}.values():
        if data.depth_cameras:
            raise ValueError(f"{data.root}: depth camera {data.depth_cameras[0]} cannot be copied")
        for what in ("fps", "robot_type"):
            got, expected = getattr(data, what), getattr(first, what)
            if got != expected:
                raise ValueError(
                    f"{data.root}: {what} is {got!r}, expected {expected!r} as of {first.root}"
                )
        if data.own.get("control_sources") != first.own.get("control_sources"):
            raise ValueError(f"{data.root}: other codes of control_source than {first.root}")
        theirs, ours = _kinds(data), _kinds(first)
        if theirs != ours:
            other = [n for n in {**ours, **theirs} if theirs.get(n) != ours.get(n)]
            raise ValueError(f"{data.root}: other columns than {first.root}: {', '.join(other)}")


def _kinds(data: DataSet) -> dict[str, tuple[Any, ...]]:
    return {
        n: (f["dtype"], tuple(f["shape"]), str(f.get("names"))) for n, f in data.features.items()
    }


class _Copy:
    """The set being written at root."""

    def __init__(self, pieces: Sequence[Piece], root: Path, changes: Changes) -> None:
        self.pieces, self.root, self.changes = pieces, root, changes
        first = pieces[0][0]
        names = {
            layout.video_key(old): layout.video_key(new) for old, new in changes.names.items()
        }
        renamed = {n: {**names, **changes.names}.get(n, n) for n in first.features}
        unknown = [o for o in changes.names if o not in first.features and o not in first.cameras]
        if unknown or len(set(renamed.values())) < len(renamed):
            what = (
                f"no feature or camera {unknown[0]!r}" if unknown else "two features of one name"
            )
            raise ValueError(f"{first.root}: {what}; there are {', '.join(first.features)}")
        self.renamed = renamed
        self.features = {renamed[n]: f for n, f in first.features.items()}
        self.cameras = {c: renamed[n] for c, n in first.camera_features.items()}
        self.tasks: list[str] = []
        self.copied: dict[tuple[str, Path], int] = {}
        self.histograms = {key: PixelHistogram.empty() for key in self.cameras.values()}
        self.rows: list[dict[str, Any]] = []

    def write(self, tell: Callable[[int], None]) -> None:
        start = 0
        for number, (data, episode) in enumerate(self.pieces):
            tell(number)
            self._episode(data, episode, number, start)
            start += data.entries[episode].length
        size = layout.EPISODES_IN_FILE
        for file in range(0, len(self.rows), size):
            table = rows_table(self.rows[file : file + size])
            replace_table(layout.numbered(self.root, layout.EPISODES_PATH, file // size), table)
        replace_table(self.root / layout.TASKS, tasks_table(self.tasks))
        first = self.pieces[0][0]
        info = layout.info(
            self.features,
            fps=first.fps,
            robot=self.changes.robot or first.robot_type,
            episodes=len(self.pieces),
            frames=start,
            tasks=len(self.tasks),
        )
        replace_json(self.root / layout.INFO, info)
        if first.own:
            own = first.own | {"robot": self.changes.robot or first.own.get("robot", "")}
            replace_json(self.root / layout.OWN_SET, own)
        images = {key.removeprefix(layout.IMAGES): h for key, h in self.histograms.items()}
        replace_json(self.root / layout.STATS, true_statistics(open_set(self.root), images=images))

    def _episode(self, data: DataSet, episode: int, number: int, start: int) -> None:
        entry = data.entries[episode]
        table = self._table(data, episode, number, start)
        replace_table(layout.numbered(self.root, layout.DATA_PATH, number), table)
        stats: dict[str, Any] = {}
        for name in table.column_names:
            feature = self.features[name]
            if feature["dtype"] in ("image", "string", "language"):
                continue
            values = numbers(table[name], feature)
            if (found := of_rows(values)) is not None:
                stats[name] = {
                    k: v if k == "count" else np.reshape(v, feature["shape"]).tolist()
                    for k, v in found.items()
                }
        videos = {}
        for camera, key in self.cameras.items():
            histogram = histogram_of(data, episode, camera)
            self.histograms[key] += histogram
            stats[key] = histogram.statistics()
            if camera in entry.videos:
                path, begin = entry.videos[camera]
                videos[key] = (self._video(key, path), begin, begin + entry.length / data.fps)
        said = [self.tasks[i] for i in dict.fromkeys(table["task_index"].to_pylist())]
        self.rows.append(
            episode_row(
                episode=number,
                tasks=said,
                length=entry.length,
                start=start,
                data_file=number,
                videos=videos,
                stats=stats,
                episodes_file=number // layout.EPISODES_IN_FILE,
            )
        )
        self._own(data, episode, number)

    def _table(self, data: DataSet, episode: int, number: int, start: int) -> pa.Table:
        """The rows of an episode with their new numbers and names."""
        table, length = data.table(episode), data.entries[episode].length
        anew = {
            "episode_index": np.full(length, number),
            "index": np.arange(start, start + length),
            "task_index": np.array(
                [self._task(data, int(i)) for i in table["task_index"].to_pylist()]
            ),
        }
        columns = {}
        for old, new in self.renamed.items():
            if data.features[old]["dtype"] == "video":
                continue
            if old not in table.column_names:
                raise ValueError(
                    f"{data.entries[episode].data}: episode {episode} has no column {old}"
                )
            columns[new] = pa.array(anew[old], pa.int64()) if old in anew else table[old]
        return pa.table(columns)

    def _task(self, data: DataSet, index: int) -> int:
        words = self.changes.tasks.get(data.tasks[index], data.tasks[index])
        if words not in self.tasks:
            self.tasks.append(words)
        return self.tasks.index(words)

    def _video(self, key: str, path: Path) -> int:
        """The number of the copy of a video."""
        if (key, path) not in self.copied:
            number = sum(k == key for k, _ in self.copied)
            target = layout.numbered(self.root, layout.VIDEO_PATH, number, video_key=key)
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, target, linked=self.changes.linked)
            self.copied[key, path] = number
        return self.copied[key, path]

    def _own(self, data: DataSet, episode: int, number: int) -> None:
        about = data.own_episode(episode)
        if about:
            names = {o: self.cameras[o].removeprefix(layout.IMAGES) for o in self.cameras}
            kept = about.get("image_histograms", {})
            about |= {"image_histograms": {names.get(c, c): h for c, h in kept.items()}}
            about["task"] = self.changes.tasks.get(about["task"], about["task"])
            replace_json(self.root / layout.OWN_EPISODE.format(episode=number), about)
        ages = data.root / layout.OWN_AGES.format(episode=episode)
        if ages.exists():
            table = read_table(ages)
            named = [
                self.cameras[n].removeprefix(layout.IMAGES) if n in self.cameras else n
                for n in table.column_names
            ]
            replace_table(
                self.root / layout.OWN_AGES.format(episode=number), table.rename_columns(named)
            )


def _copy(source: Path, target: Path, *, linked: bool) -> None:
    if linked and source.stat().st_dev == target.parent.stat().st_dev:
        os.link(source, target)
        return
    with room_for(target):
        shutil.copyfile(source, target)
    sync_file(target)
