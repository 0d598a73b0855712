"""A LeRobot set of version 2.0 or 2.1 as one of version 3.0, columns and videos unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vla_policy.data.conversion.bags import BagResult, Tell
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import lock_folder, sync_file
from vla_policy.data.lerobot.metadata import (
    SetState,
    episode_row,
    joined_stats,
    read_state,
    rows_table,
    tasks_table,
)
from vla_policy.data.lerobot.reader import DataSet, open_set
from vla_policy.data.lerobot.recover import recover_locked
from vla_policy.data.lerobot.set_statistics import SAMPLES, write_true_statistics
from vla_policy.data.lerobot.statistics import PixelHistogram, of_rows
from vla_policy.data.lerobot.transaction import Change


def upgrade_set(
    source: Path, destination: Path, tell: Tell = lambda done, total: None
) -> BagResult:
    """Add the episodes of source that destination does not have yet, one change each.

    Raises ValueError for a source of version 3, and for a destination of another set;
    FileNotFoundError for a missing video.
    """
    data = open_set(source)
    if not data.version.startswith("v2."):
        raise ValueError(f"{source}: is of version {data.version} already, expected v2.0 or v2.1")
    staging = destination / layout.STAGING
    with lock_folder(staging):
        recover_locked(destination)
        state = read_state(destination) if (destination / layout.INFO).exists() else None
        total = len(data.entries)
        if state is not None:
            _require_same(destination, state, data)
        outcome = BagResult(skipped=state.episodes if state else 0)
        tell(outcome.skipped, total)
        for episode in range(outcome.skipped, total):
            state = _add(destination, state, data, episode)
            outcome.episodes += 1
            outcome.frames += data.entries[episode].length
            tell(episode + 1, total)
        if outcome.episodes:
            write_true_statistics(destination)
    return outcome


def _require_same(destination: Path, state: SetState, data: DataSet) -> None:
    expected = {"fps": data.fps, "robot_type": data.robot_type, "features": data.features}
    other = [key for key, value in expected.items() if state.info.get(key) != value]
    if other or state.episodes > len(data.entries) or state.tasks != data.tasks:
        raise ValueError(
            f"{destination}: got a set that differs in {', '.join(other) or 'its episodes'} from {data.root}, "
            "expected a new folder, or one where this conversion was begun"
        )


def _add(root: Path, state: SetState | None, data: DataSet, episode: int) -> SetState:
    entry = data.entries[episode]
    table = _table(data, episode)
    files = () if state is None else state.files
    full = files if not files or len(files[-1]) >= layout.EPISODES_IN_FILE else files[:-1]
    rows = files[-1].to_pylist() if len(full) < len(files) else []
    stats = _stats(data, episode)
    length_s = entry.length / data.fps
    keys = [name for name, f in data.features.items() if f["dtype"] == "video"]
    rows.append(
        episode_row(
            episode=episode,
            tasks=entry.tasks,
            length=entry.length,
            start=entry.start,
            data_file=episode,
            videos=dict.fromkeys(keys, (episode, 0.0, length_s)),
            stats=stats,
            episodes_file=len(full),
        )
    )
    info = layout.info(
        data.features,
        fps=data.fps,
        robot=data.robot_type,
        episodes=episode + 1,
        frames=entry.start + entry.length,
        tasks=len(data.tasks),
    )
    joined = joined_stats(state.stats if state else {}, stats)
    new = SetState(info, joined, data.tasks, (*full, rows_table(rows)))
    change = Change(root, f"episode {episode} of {data.root} was taken over")
    place = layout.place(episode)
    change.table(table, layout.DATA_PATH.format(**place))
    change.table(tasks_table(new.tasks), layout.TASKS)
    change.table(new.files[-1], layout.EPISODES_PATH.format(**layout.place(len(full))))
    change.json(new.stats, layout.STATS)
    change.json(new.info, layout.INFO)
    for key in keys:
        copy = _copied(root / layout.STAGING / "take" / f"{key}.mp4", _video(data, episode, key))
        change.take(copy, layout.VIDEO_PATH.format(video_key=key, **place))
    change.commit()
    shutil.rmtree(root / layout.STAGING / "take", ignore_errors=True)
    return new


def _table(data: DataSet, episode: int) -> pa.Table:
    """The rows with version 3's column types. Raises ValueError for a missing column."""
    table, schema = data.table(episode), layout.schema(data.features)
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{data.entries[episode].data}: no column {', '.join(missing)} (episode {episode})"
        )
    try:
        columns = [table[field.name].combine_chunks().cast(field.type) for field in schema]
    except pa.ArrowException as error:
        raise ValueError(
            f"{data.entries[episode].data}: a column is not what the features say (episode {episode}): {error}"
        ) from error
    return pa.table(columns, schema=schema)


def _stats(data: DataSet, episode: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in data.rows(episode).items():
        stats = of_rows(values)
        if stats is not None:
            found[name] = _shaped(stats, data.features[name]["shape"])
    length = data.entries[episode].length
    for camera, key in data.camera_features.items():
        histogram = PixelHistogram.empty()
        for number in np.unique(np.linspace(0, length - 1, SAMPLES).round().astype(int)).tolist():
            histogram = histogram.with_image(data.image(episode, number, camera))
        found[key] = histogram.statistics()
    return found


def _shaped(stats: Mapping[str, Any], shape: list[int]) -> dict[str, Any]:
    return {k: v if k == "count" else np.reshape(v, shape).tolist() for k, v in stats.items()}


def _video(data: DataSet, episode: int, key: str) -> Path:
    words = {"episode_chunk": episode // data.info["chunks_size"], "episode_index": episode}
    return data.root / str(data.info["video_path"]).format(video_key=key, **words)


def _copied(copy: Path, original: Path) -> Path:
    """A copy of the file, synced to disk."""
    if not original.is_file():
        raise FileNotFoundError(f"{original}: the video is not there")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, copy)
    sync_file(copy)
    return copy
