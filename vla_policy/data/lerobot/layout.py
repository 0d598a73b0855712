"""Files of a LeRobot data set of version 3.0, and its columns.

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet        one file per episode, one row per frame
    videos/observation.images.<camera>/chunk-000/file-000.mp4      one file per episode
    meta/vla_policy/                       data outside the format; other readers ignore it
    .recording/                            data not saved yet; ignored by all readers

The format's file sizes are upper bounds and its readers take every file, so one file per episode
is as valid as many episodes in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from vla_policy.data.frame import CONTROL_SOURCES

VERSION = "v3.0"
OWN_VERSION = 1  # of meta/vla_policy
FILES_IN_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_IN_FILE = (
    100  # rows of meta/episodes are rewritten when one is added: few enough to be fast
)
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
OWN = "meta/vla_policy"
OWN_SET = f"{OWN}/set.json"
OWN_EPISODE = OWN + "/episodes/episode-{episode:06d}.json"
OWN_AGES = OWN + "/ages/episode-{episode:06d}.parquet"
STAGING = ".recording"
IMAGES = "observation.images."
STATE, ACTION, PROPOSED = "observation.state", "action", "proposed_action"
FLAGS = (
    "control_source",
    "intervention",
    "guard_level",
    "frame_valid",
    "next.done",
    "next.success",
)
DEFAULTS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
BOOLEAN = ("intervention", "frame_valid", "next.done", "next.success")
ALIGNMENT = (
    "Frame k of an episode is at start + k / fps. Each stream gives its newest sample with stamp <= that time that is not "
    "older than the robot's max_age; else the older one is repeated and frame_valid is false. Row k of action is the last "
    "command sent with stamp <= start + (k + 1) / fps, in units of the robot; proposed_action is what the plan asked for."
)


def place(number: int) -> dict[str, int]:
    """chunk_index and file_index of a file by its number."""
    return {"chunk_index": number // FILES_IN_CHUNK, "file_index": number % FILES_IN_CHUNK}


def video_key(camera: str) -> str:
    return IMAGES + camera


def features(
    state_names: Sequence[str],
    action_names: Sequence[str],
    shapes: Mapping[str, tuple[int, int]],
    fps: int,
) -> dict[str, Any]:
    """The features of info.json. shapes: camera -> (height, width)."""
    named = {
        STATE: _feature("float32", len(state_names), list(state_names)),
        ACTION: _feature("float32", len(action_names), list(action_names)),
        PROPOSED: _feature("float32", len(action_names), list(action_names)),
    }
    flags = {n: _feature("bool" if n in BOOLEAN else "int64", 1, None) for n in FLAGS}
    videos = {video_key(c): _video(h, w, fps) for c, (h, w) in shapes.items()}
    defaults = {n: _feature("float32" if n == "timestamp" else "int64", 1, None) for n in DEFAULTS}
    return named | videos | flags | defaults


def _feature(dtype: str, width: int, names: list[str] | None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [width], "names": names}


def _video(height: int, width: int, fps: int) -> dict[str, Any]:
    info = {
        "video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p",
        "video.fps": fps, "video.channels": 3, "has_audio": False, "is_depth_map": False,
    }  # fmt: skip
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": info}


def info(
    features: Mapping[str, Any],
    *,
    fps: int,
    robot: str,
    episodes: int,
    frames: int,
    tasks: int,
) -> dict[str, Any]:
    """The content of meta/info.json."""
    return {
        "codebase_version": VERSION,
        "fps": fps,
        "features": dict(features),
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_IN_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH
        if any(f["dtype"] == "video" for f in features.values())
        else None,
        "robot_type": robot,
        "splits": {"train": f"0:{episodes}"},
    }


def schema(features: Mapping[str, Any]) -> pa.Schema:
    """The columns of data/*.parquet: every feature that is no video."""
    return pa.schema([(n, column_type(f)) for n, f in features.items() if f["dtype"] != "video"])


def column_type(feature: Mapping[str, Any]) -> pa.DataType:
    """One column: a scalar for shape [1], else a row of fixed length, nested for more axes."""
    shape = list(feature["shape"])
    if feature["dtype"] == "image":
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})
    kind = pa.string() if feature["dtype"] == "string" else pa.from_numpy_dtype(feature["dtype"])
    for size in [] if shape == [1] else reversed(shape):
        kind = pa.list_(kind, size) if len(shape) == 1 else pa.list_(kind)
    return kind


def own_set(robot_name: str, robot_yaml: str) -> dict[str, Any]:
    """The content of meta/vla_policy/set.json."""
    return {
        "format_version": OWN_VERSION,
        "alignment": ALIGNMENT,
        "control_sources": list(CONTROL_SOURCES),
        "robot": robot_name,
        "robot_yaml": robot_yaml,
    }


def numbered(root: Path, template: str, number: int, **words: str) -> Path:
    """The file of a template of this layout by its number."""
    return root / template.format(**place(number), **words)
