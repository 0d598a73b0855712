"""Append an episode to a set, or remove the last one: each in one change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vla_policy.data.frame import CONTROL_SOURCES, Frame
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.metadata import (
    SetState,
    episode_row,
    joined_stats,
    rows_table,
    tasks_table,
)
from vla_policy.data.lerobot.statistics import of_rows
from vla_policy.data.lerobot.transaction import Change
from vla_policy.data.lerobot.video_encoder import EncodedVideo
from vla_policy.data.scene import DrawnScene
from vla_policy.types import Array


@dataclass(frozen=True, slots=True)
class Row:
    """A frame without its images, kept in memory until the episode is saved."""

    stamp_ns: int
    state: Array
    action: Array
    proposed: Array
    control_source: str
    intervention: bool
    guard_level: int
    valid: bool
    task: str
    ages_s: Mapping[str, float]

    @classmethod
    def of(cls, frame: Frame) -> Row:
        return cls(*(getattr(frame, name) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class EpisodeToAppend:
    """A complete episode. videos: by camera, closed files. scene: of a simulation."""

    task: str
    rows: Sequence[Row]
    videos: Mapping[str, EncodedVideo]
    success: bool | None
    scene: DrawnScene | None = None


@dataclass(frozen=True, slots=True)
class ReadyEpisode:
    """An episode ready to join its set.

    state: of the set with it. files: those of the set that contain it.
    """

    episode: EpisodeToAppend
    change: Change
    state: SetState
    files: tuple[Path, ...]


def ready_episode(
    root: Path,
    state: SetState | None,
    take: EpisodeToAppend,
    description: Mapping[str, Any],
    *,
    name: str = "only",
) -> ReadyEpisode:
    """Prepare the set's next episode on disk; only committing its change changes the set.

    description: features, fps, robot and robot_yaml, for a new set. name: of the change. The set
    must not change before the commit. Raises DiskFull with the set untouched; take's files then
    stay in place.
    """
    features, fps = description["features"], description["fps"]
    episode, start = (state.episodes, state.frames) if state else (0, 0)
    for camera, video in take.videos.items():
        if video.frames != len(take.rows):
            raise ValueError(
                f"{video.path}: got {video.frames} frames of {camera}, expected {len(take.rows)}"
            )
    tasks = list(state.tasks) if state else []
    for row in take.rows:
        if (task := row.task or take.task) not in tasks:
            tasks.append(task)
    table = _table(take, features, fps=fps, episode=episode, start=start, tasks=tasks)
    stats = _stats(table, features) | {
        layout.video_key(c): v.histogram.statistics() for c, v in take.videos.items()
    }
    full, before, number = _last_file(state)
    said = [tasks[i] for i in dict.fromkeys(table["task_index"].to_pylist())]
    added = episode_row(
        episode=episode,
        tasks=said,
        length=len(take.rows),
        start=start,
        data_file=_next_file(state, "data"),
        videos={
            (key := layout.video_key(c)): (_next_file(state, f"videos/{key}"), 0.0, len(take.rows) / fps)
            for c in take.videos
        },
        stats=stats,
        episodes_file=number,
    )  # fmt: skip
    rows = pa.concat_tables([*before, rows_table([added])], promote_options="default")
    info = layout.info(
        features, fps=fps, robot=description["robot"], episodes=episode + 1,
        frames=start + len(take.rows), tasks=len(tasks),
    )  # fmt: skip
    new = SetState(
        info,
        joined_stats(state.stats if state else {}, stats),
        tuple(tasks),
        (*full, rows.combine_chunks()),
    )
    what = f"episode {episode} ({len(take.rows)} frames) was completed"
    change = Change(root, what, name)
    files = _write(change, new, take, table, description)
    change.make_ready()
    return ReadyEpisode(take, change, new, files)


def _write(
    change: Change,
    new: SetState,
    take: EpisodeToAppend,
    table: pa.Table,
    description: Mapping[str, Any],
) -> tuple[Path, ...]:
    """The files of the change: files that others refer to first, info.json last."""
    episode, row = new.episodes - 1, new.files[-1].slice(len(new.files[-1]) - 1).to_pylist()[0]
    files = [layout.DATA_PATH.format(**_place(row, "data"))]
    own = layout.OWN_EPISODE.format(episode=episode)
    root = change.root
    if not (root / layout.OWN_SET).exists():
        change.json(
            layout.own_set(description["robot"], description["robot_yaml"]), layout.OWN_SET
        )
    change.table(_ages(take), layout.OWN_AGES.format(episode=episode))
    change.json(_own_episode(take), own, indent=None)
    change.table(table, files[0])
    change.table(tasks_table(new.tasks), layout.TASKS)
    change.table(new.files[-1], layout.EPISODES_PATH.format(**_place(row, "meta/episodes")))
    # In one line, ten times as fast; close() writes exact statistics, with newlines.
    change.json(new.stats, layout.STATS, indent=None)
    change.json(new.info, layout.INFO)
    for camera, video in take.videos.items():
        key = layout.video_key(camera)
        files.append(layout.VIDEO_PATH.format(video_key=key, **_place(row, f"videos/{key}")))
        change.take(video.path, files[-1])
    return tuple(root / f for f in files)


def remove_last(root: Path, state: SetState) -> SetState:
    """Remove the last episode from the set below root; the set's new state."""
    episode = state.episodes - 1
    row = state.files[-1].slice(len(state.files[-1]) - 1).to_pylist()[0]
    left = state.files[-1].slice(0, len(state.files[-1]) - 1)
    files = (*state.files[:-1], *([left] if len(left) else []))
    info = dict(state.info) | {
        "total_episodes": episode,
        "total_frames": state.frames - row["length"],
        "splits": {"train": f"0:{episode}"},
    }
    change = Change(root, f"episode {episode} was deleted")
    change.json(info, layout.INFO)
    at = layout.EPISODES_PATH.format(**_place(row, "meta/episodes"))
    if len(left):
        change.table(left, at)
    else:
        change.remove(at)
    change.remove(layout.DATA_PATH.format(**_place(row, "data")))
    for key in (n for n, f in state.info["features"].items() if f["dtype"] == "video"):
        change.remove(layout.VIDEO_PATH.format(video_key=key, **_place(row, f"videos/{key}")))
    change.remove(layout.OWN_EPISODE.format(episode=episode))
    change.remove(layout.OWN_AGES.format(episode=episode))
    change.commit()
    return replace(state, info=info, files=files)


def _place(row: Mapping[str, Any], what: str) -> dict[str, int]:
    return {k: row[f"{what}/{k}"] for k in ("chunk_index", "file_index")}


def _last_file(
    state: SetState | None,
) -> tuple[tuple[pa.Table, ...], tuple[pa.Table, ...], int]:
    """Full files of meta/episodes; the next row's file, if it exists; the number of that file."""
    if state is None or not state.files:
        return (), (), 0
    last = state.files[-1]
    at = _place(last.slice(len(last) - 1).to_pylist()[0], "meta/episodes")
    number = at["chunk_index"] * layout.FILES_IN_CHUNK + at["file_index"]
    if len(last) < layout.EPISODES_IN_FILE:
        return state.files[:-1], (last,), number
    return state.files, (), number + 1


def _next_file(state: SetState | None, what: str) -> int:
    """The number of the next file of data or of a video: after the files of all episodes."""
    if state is None or not state.files:
        return 0
    used = [
        int(chunk) * layout.FILES_IN_CHUNK + int(file)
        for table in state.files
        for chunk, file in zip(
            table[f"{what}/chunk_index"].to_pylist(), table[f"{what}/file_index"].to_pylist(), strict=True
        )
    ]  # fmt: skip
    return max(used) + 1


def _table(
    take: EpisodeToAppend,
    features: Mapping[str, Any],
    *,
    fps: int,
    episode: int,
    start: int,
    tasks: Sequence[str],
) -> pa.Table:
    rows, count = take.rows, len(take.rows)
    last = np.arange(count) == count - 1
    index = np.arange(count, dtype=np.int64)
    columns: dict[str, Array] = {
        layout.STATE: np.stack([r.state for r in rows]),
        layout.ACTION: np.stack([r.action for r in rows]),
        layout.PROPOSED: np.stack([r.proposed for r in rows]),
        "control_source": np.array([CONTROL_SOURCES.index(r.control_source) for r in rows]),
        "intervention": np.array([r.intervention for r in rows], bool),
        "guard_level": np.array([r.guard_level for r in rows], np.int64),
        "frame_valid": np.array([r.valid for r in rows], bool),
        "next.done": last,
        "next.success": last & (take.success is True),
        "timestamp": (index / fps).astype(np.float32),
        "frame_index": index,
        "episode_index": np.full(count, episode),
        "index": index + start,
        "task_index": np.array([tasks.index(r.task or take.task) for r in rows], np.int64),
    }
    schema = layout.schema(features)
    return pa.table([column(columns[f.name], f.type) for f in schema], schema=schema)


def column(values: Array, kind: pa.DataType) -> pa.Array:
    """[n] or [n, d] numbers as a column."""
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.array(np.asarray(values).reshape(-1), kind)


def _stats(table: pa.Table, features: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name in table.column_names:
        width = features[name]["shape"][0]
        values = table[name].combine_chunks()
        flat = (
            values.flatten() if width > 1 or pa.types.is_fixed_size_list(values.type) else values
        )
        numbers = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
        if (stats := of_rows(numbers)) is not None:
            found[name] = stats
    return found


def _ages(take: EpisodeToAppend) -> pa.Table:
    """stamp_ns of each frame, and the age of each stream's sample, s."""
    streams = list(dict.fromkeys(name for row in take.rows for name in row.ages_s))
    columns = {"stamp_ns": pa.array([r.stamp_ns for r in take.rows], pa.int64())}
    columns |= {s: pa.array([r.ages_s.get(s) for r in take.rows], pa.float32()) for s in streams}
    return pa.table(columns)


def _own_episode(take: EpisodeToAppend) -> dict[str, Any]:
    scene = {} if take.scene is None else {"scene": asdict(take.scene)}
    return {
        "task": take.task,
        "success": take.success,
        "start_ns": take.rows[0].stamp_ns,
        **scene,
        "image_histograms": {
            c: {"counts": v.histogram.counts.tolist(), "images": v.histogram.images}
            for c, v in take.videos.items()
        },
    }
