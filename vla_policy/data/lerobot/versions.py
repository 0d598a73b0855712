"""Places of a set's episodes, for each version of the format: one list for all versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_json_lines, read_table
from vla_policy.data.lerobot.metadata import episode_files, read_tasks

READ = ("v2.0", "v2.1", "v3.0", "v3.1")


@dataclass(frozen=True, slots=True)
class EpisodeEntry:
    """start: index of its first frame in the set.

    videos: camera -> (file, start in it in seconds).
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    start: int
    data: Path
    videos: Mapping[str, tuple[Path, float]]


def read_episodes(
    root: Path, info: Mapping[str, Any], cameras: Mapping[str, str]
) -> tuple[tuple[EpisodeEntry, ...], tuple[str, ...]]:
    """(episodes in order, tasks by index) of a set. cameras: name -> feature, for videos.

    Raises ValueError or FileNotFoundError naming the file.
    """
    if not info["total_episodes"]:
        return (), ()
    reader = _read_v3 if info["codebase_version"].startswith("v3.") else _read_v2
    try:
        return reader(root, info, cameras)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{root / 'meta'}: {type(error).__name__} {error}: what it says about the episodes is incomplete"
        ) from error


def _read_v3(
    root: Path, info: Mapping[str, Any], cameras: Mapping[str, str]
) -> tuple[tuple[EpisodeEntry, ...], tuple[str, ...]]:
    files = episode_files(root)
    if not files:
        raise FileNotFoundError(f"{root}/meta/episodes: there is no parquet file")
    wanted = [
        "episode_index",
        "tasks",
        "length",
        "dataset_from_index",
        "data/chunk_index",
        "data/file_index",
    ]
    for key in cameras.values():
        wanted += [f"videos/{key}/{n}" for n in ("chunk_index", "file_index", "from_timestamp")]
    rows = [row for path in files for row in read_table(path, wanted).to_pylist()]
    found = []
    for number, row in enumerate(rows[: info["total_episodes"]]):
        if row["episode_index"] != number:
            raise ValueError(
                f"{root}/meta/episodes: got episode {row['episode_index']} in row {number}, expected {number}"
            )
        found.append(_entry_v3(root, info, cameras, row))
    if len(found) < info["total_episodes"]:
        raise ValueError(
            f"{root}/meta/episodes: got {len(found)} episodes, expected {info['total_episodes']} as in {layout.INFO}"
        )
    return tuple(found), read_tasks(root)


def _entry_v3(
    root: Path, info: Mapping[str, Any], cameras: Mapping[str, str], row: Mapping[str, Any]
) -> EpisodeEntry:
    def place(what: str) -> dict[str, int]:
        return {k: row[f"{what}/{k}"] for k in ("chunk_index", "file_index")}

    videos = {}
    for camera, key in cameras.items():
        path = root / info["video_path"].format(video_key=key, **place(f"videos/{key}"))
        videos[camera] = (path, float(row[f"videos/{key}/from_timestamp"]))
    return EpisodeEntry(
        row["episode_index"],
        row["length"],
        tuple(row["tasks"]),
        row["dataset_from_index"],
        root / info["data_path"].format(**place("data")),
        videos,
    )


def _read_v2(
    root: Path, info: Mapping[str, Any], cameras: Mapping[str, str]
) -> tuple[tuple[EpisodeEntry, ...], tuple[str, ...]]:
    said = {
        r["task_index"]: str(r["task"]) for r in read_json_lines(root / "meta" / "tasks.jsonl")
    }
    if sorted(said) != list(range(len(said))):
        raise ValueError(
            f"{root}/meta/tasks.jsonl: got indices {sorted(said)[:10]}, expected 0 to {len(said) - 1}"
        )
    found: list[EpisodeEntry] = []
    start = 0
    for row in read_json_lines(root / "meta" / "episodes.jsonl"):
        words = {
            "episode_chunk": row["episode_index"] // info["chunks_size"],
            "episode_index": row["episode_index"],
        }
        videos = {
            c: (root / info["video_path"].format(video_key=key, **words), 0.0)
            for c, key in cameras.items()
        }
        path = root / info["data_path"].format(**words)
        found.append(
            EpisodeEntry(
                row["episode_index"], row["length"], tuple(row["tasks"]), start, path, videos
            )
        )
        start += row["length"]
    return tuple(found), tuple(said[i] for i in range(len(said)))
