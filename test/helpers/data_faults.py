"""Breaks exactly one thing in a copy of a data set of version 3.0, with pyarrow, av and json only.

Every function takes the folder and a random generator and returns the finding that `vla data
check` must report: (code, episode, frame), None for a missing place. One file per episode, as
this package writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS = 10
Expected = tuple[str, int | None, int | None]
CAMERAS = ("front", "wrist")


def data_file(root: Path, episode: int) -> Path:
    return root / f"data/chunk-000/file-{episode:03d}.parquet"


def video_file(root: Path, episode: int, camera: str) -> Path:
    return root / f"videos/observation.images.{camera}/chunk-000/file-{episode:03d}.mp4"


def lengths(root: Path) -> list[int]:
    return [pq.read_metadata(p).num_rows for p in sorted((root / "data").rglob("*.parquet"))]


def pick(root: Path, rng, margin: int = 6) -> tuple[int, int]:
    """An episode, and a frame away from its ends."""
    all_of = lengths(root)
    long_enough = [k for k, length in enumerate(all_of) if length > 2 * margin]
    episode = int(rng.choice(long_enough))
    return episode, int(rng.integers(margin, all_of[episode] - margin))


def rows(path: Path, column: str) -> np.ndarray:
    return np.array(pq.read_table(path)[column].to_pylist())


def put(path: Path, column: str, values: np.ndarray) -> None:
    """Replace a column, keeping its type."""
    table = pq.read_table(path)
    kind = table.schema.field(column)
    place = table.column_names.index(column)
    cells = pa.array(values.tolist(), kind.type)
    pq.write_table(table.set_column(place, kind, cells), path)


def change_json(path: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def episodes_file(root: Path) -> Path:
    return root / "meta/episodes/chunk-000/file-000.parquet"


def right_statistics(root: Path) -> None:
    """Recompute the statistics of the current data, of the set and of its episodes."""
    files = sorted((root / "data").rglob("*.parquet"))
    stats = json.loads((root / "meta/stats.json").read_text())
    table = pq.read_table(episodes_file(root))
    for name in ("observation.state", "action"):
        parts = [rows(f, name).astype(np.float64) for f in files]
        stats[name].update(_numbers(np.concatenate(parts)))
        for key in ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99", "count"):
            column = f"stats/{name}/{key}"
            place = table.column_names.index(column)
            kind = table.schema.field(column)
            cells = pa.array([_numbers(p)[key] for p in parts], kind.type)
            table = table.set_column(place, kind, cells)
    pq.write_table(table, episodes_file(root))
    (root / "meta/stats.json").write_text(json.dumps(stats))


def _numbers(table: np.ndarray) -> dict:
    found = {"min": table.min(0), "max": table.max(0), "mean": table.mean(0), "std": table.std(0)}
    for q in (1, 10, 50, 90, 99):
        found[f"q{q:02d}"] = np.percentile(table, q, axis=0)
    return {k: v.tolist() for k, v in found.items()} | {"count": [len(table)]}


def images(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def encode(path: Path, frames: list[np.ndarray], times: list[int] | None = None, rate=FPS) -> None:
    """Encode a video; times: the presentation time of each frame."""
    height, width, _ = frames[0].shape
    options = {"crf": "16", "preset": "ultrafast", "bf": "0", "g": "2"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for place, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = place if times is None else times[place]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frozen_camera(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng, 9)
    path = video_file(root, episode, rng.choice(CAMERAS))
    frames = images(path)
    frames[frame : frame + 6] = [frames[frame - 1]] * 6
    encode(path, frames)
    return "frozen", episode, frame


def blank_frame(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    path = video_file(root, episode, rng.choice(CAMERAS))
    frames = images(path)
    frames[frame] = np.full_like(frames[frame], rng.integers(256))
    encode(path, frames)
    return "blank", episode, frame


def lost_video_frames(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    path = video_file(root, episode, rng.choice(CAMERAS))
    frames = images(path)
    kept = [k for k in range(len(frames)) if not frame <= k < frame + int(rng.integers(1, 4))]
    encode(path, [frames[k] for k in kept], kept)
    return "missing_frames", episode, frame


def short_video(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng, 2)
    path = video_file(root, episode, rng.choice(CAMERAS))
    encode(path, images(path)[:frame])
    return "drift", episode, frame


def long_video(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    path = video_file(root, episode, rng.choice(CAMERAS))
    frames = images(path)
    encode(path, frames + frames[: int(rng.integers(1, 4))])
    return "drift", episode, len(frames)


def slow_video(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    path = video_file(root, episode, rng.choice(CAMERAS))
    encode(path, images(path), rate=int(rng.choice([8, 9, 12, 15])))
    return "false_fps", episode, 0


def other_size(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    path = video_file(root, episode, rng.choice(CAMERAS))
    encode(path, [f[::2, ::2] for f in images(path)])
    return "image_size", episode, 0


def truncated_video(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    path = video_file(root, episode, rng.choice(CAMERAS))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * rng.uniform(0.1, 0.9))])
    return "unreadable", episode, 0


def truncated_rows(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    path = data_file(root, episode)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * rng.uniform(0.1, 0.95))])
    return "unreadable", episode, 0


def lost_video(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    video_file(root, episode, rng.choice(CAMERAS)).unlink()
    return "unreadable", episode, 0


def swapped_cameras(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    a, b = (video_file(root, episode, c) for c in CAMERAS)
    aside = a.with_suffix(".aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    return "swapped_cameras", episode, 0


def time_back(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "timestamp")
    values[frame] = values[frame - 1] - rng.uniform(0.01, 1)
    put(data_file(root, episode), "timestamp", values)
    return "time_back", episode, frame


def stamp_back(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    path = root / f"meta/vla_policy/ages/episode-{episode:06d}.parquet"
    values = rows(path, "stamp_ns")
    values[frame:] -= int(rng.integers(2, 50) * 10**8)
    put(path, "stamp_ns", values)
    return "time_back", episode, frame


def time_gap(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "timestamp")
    values[frame:] += int(rng.integers(1, 9)) / FPS
    put(data_file(root, episode), "timestamp", values)
    return "missing_frames", episode, frame


def false_rate(root: Path, rng) -> Expected:
    """The rows are slower than the rate in the set."""
    episode, _ = pick(root, rng)
    values = rows(data_file(root, episode), "timestamp")
    put(data_file(root, episode), "timestamp", values * rng.choice([0.5, 0.8, 1.1, 1.5]))
    return "false_fps", episode, 0


def slow_clock(root: Path, rng) -> Expected:
    """One per cent: no single step shows it, the sum does."""
    episode = int(np.argmax(lengths(root)))
    values = rows(data_file(root, episode), "timestamp")
    count = len(values)
    drift = 0.7 / (count - 1)
    values = values * (1 + drift)
    put(data_file(root, episode), "timestamp", values)
    return "false_fps", episode, None


def false_info_fps(root: Path, rng) -> Expected:
    change_json(root / "meta/info.json", lambda d: d.update(fps=int(rng.choice([5, 15, 20, 30]))))
    return "false_fps", None, None


def not_finite(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng, 1)
    name = str(rng.choice(["observation.state", "action"]))
    values = rows(data_file(root, episode), name)
    values[frame, int(rng.integers(values.shape[1]))] = rng.choice([np.nan, np.inf, -np.inf])
    put(data_file(root, episode), name, values)
    return "not_finite", episode, frame


def out_of_limits(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng, 1)
    name = str(rng.choice(["observation.state", "action"]))
    values = rows(data_file(root, episode), name)
    column = int(rng.choice([0, 1, 2, 7]))
    values[frame, column] = rng.choice([-1, 1]) * rng.uniform(1.2, 5)
    put(data_file(root, episode), name, values)
    return "out_of_limits", episode, frame


def leap(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "observation.state")
    column = int(rng.integers(2))
    low, high = ((0.12, 0.58), (-0.38, 0.38))[column]
    middle = (low + high) / 2
    values[frame, column] = low if values[frame - 1, column] > middle else high
    put(data_file(root, episode), "observation.state", values)
    return "leap", episode, frame


def stuck_state(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng, 9)
    values = rows(data_file(root, episode), "observation.state")
    values[frame : frame + 8] = values[frame - 1]
    put(data_file(root, episode), "observation.state", values)
    right_statistics(root)
    return "stuck_state", episode, frame


def constant_column(root: Path, rng) -> Expected:
    name = str(rng.choice(["observation.state", "action"]))
    column = int(rng.integers(8))
    for episode in range(len(lengths(root))):
        values = rows(data_file(root, episode), name)
        values[:, column] = 0.3
        put(data_file(root, episode), name, values)
    right_statistics(root)
    return "constant_column", None, None


def degrees(root: Path, rng) -> Expected:
    """One episode in another unit."""
    episode, _ = pick(root, rng)
    for name in ("observation.state", "action"):
        values = rows(data_file(root, episode), name)
        put(data_file(root, episode), name, np.degrees(values))
    right_statistics(root)
    return "mixed_robots", episode, None


def other_width(root: Path, rng) -> Expected:
    """One episode of a robot with fewer joints."""
    episode, _ = pick(root, rng)
    path = data_file(root, episode)
    table = pq.read_table(path)
    place = table.column_names.index("observation.state")
    cut = np.array(table["observation.state"].to_pylist(), np.float32)[:, :6]
    cells = pa.array(cut.tolist(), pa.list_(pa.float32(), 6))
    pq.write_table(table.set_column(place, "observation.state", cells), path)
    return "mixed_robots", episode, 0


def other_robot_named(root: Path, rng) -> Expected:
    change_json(root / "meta/vla_policy/set.json", lambda d: d.update(robot="so101"))
    return "mixed_robots", None, None


def frame_index_gap(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "frame_index")
    values[frame:] += int(rng.integers(1, 5))
    put(data_file(root, episode), "frame_index", values)
    return "index_gap", episode, frame


def index_gap(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "index")
    values[frame] = values[frame - 1]
    put(data_file(root, episode), "index", values)
    return "index_gap", episode, frame


def lost_episode_row(root: Path, rng) -> Expected:
    """meta/episodes lacks one; readers that index by position are off by one after it."""
    table = pq.read_table(episodes_file(root))
    episode = int(rng.integers(len(table) - 1))
    kept = table.take([k for k in range(len(table)) if k != episode])
    pq.write_table(kept, episodes_file(root))
    return "index_gap", episode, None


def false_total(root: Path, rng) -> Expected:
    key = str(rng.choice(["total_frames", "total_episodes"]))
    change_json(root / "meta/info.json", lambda d: d.update({key: d[key] + 1}))
    return "false_length", None, None


def false_episode_length(root: Path, rng) -> Expected:
    table = pq.read_table(episodes_file(root))
    episode = int(rng.integers(len(table)))
    values = np.array(table["length"].to_pylist())
    more = int(rng.integers(1, 5))
    values[episode] += more
    put(episodes_file(root), "length", values)
    change_json(root / "meta/info.json", lambda d: d.update(total_frames=d["total_frames"] + more))
    return "false_length", episode, None


def lost_rows(root: Path, rng) -> Expected:
    """Rows at the end of a file are missing, unlike in meta/."""
    episode, frame = pick(root, rng)
    table = pq.read_table(data_file(root, episode))
    pq.write_table(table.slice(0, frame), data_file(root, episode))
    return "false_length", episode, frame


def false_video_range(root: Path, rng) -> Expected:
    table = pq.read_table(episodes_file(root))
    episode = int(rng.integers(len(table)))
    name = f"videos/observation.images.{rng.choice(CAMERAS)}/to_timestamp"
    values = np.array(table[name].to_pylist())
    values[episode] *= 0.9
    put(episodes_file(root), name, values)
    return "drift", episode, None


def task_out_of_list(root: Path, rng) -> Expected:
    episode, _ = pick(root, rng)
    values = rows(data_file(root, episode), "task_index")
    count = len(pq.read_table(root / "meta/tasks.parquet"))
    put(data_file(root, episode), "task_index", values + int(rng.integers(count, 2 * count)))
    return "task", episode, 0


def other_task(root: Path, rng) -> Expected:
    """From one frame on, rows have the number of a task that the episode lacks."""
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "task_index")
    count = len(pq.read_table(root / "meta/tasks.parquet"))
    values[frame:] = (values[frame:] + int(rng.integers(1, count))) % count
    put(data_file(root, episode), "task_index", values)
    return "task", episode, frame


def no_task(root: Path, rng) -> Expected:
    table = pq.read_table(episodes_file(root))
    episode = int(rng.integers(len(table)))
    tasks = table["tasks"].to_pylist()
    tasks[episode] = [[], [""]][int(rng.integers(2))]
    place = table.column_names.index("tasks")
    field = table.schema.field("tasks")
    pq.write_table(
        table.set_column(place, field, pa.array(tasks, field.type)), episodes_file(root)
    )
    return "task", episode, None


def false_statistics(root: Path, rng) -> Expected:
    name = str(rng.choice(["observation.state", "action"]))
    key = str(rng.choice(["min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99"]))

    def change(document):
        values = document[name][key]
        column = int(rng.integers(len(values)))
        spread = document[name]["max"][column] - document[name]["min"][column]
        values[column] += float(rng.choice([-1, 1]) * rng.uniform(0.3, 2) * spread)

    change_json(root / "meta/stats.json", change)
    return "statistics", None, None


def false_episode_statistics(root: Path, rng) -> Expected:
    table = pq.read_table(episodes_file(root))
    episode = int(rng.integers(len(table)))
    name = f"stats/{rng.choice(['observation.state', 'action'])}/{rng.choice(['min', 'max', 'mean', 'std'])}"
    values = np.array(table[name].to_pylist())
    values[episode] += 0.7
    put(episodes_file(root), name, values)
    return "statistics", episode, None


def invalid_frames(root: Path, rng) -> Expected:
    episode, frame = pick(root, rng)
    values = rows(data_file(root, episode), "frame_valid")
    values[frame : frame + int(rng.integers(1, 6))] = False
    put(data_file(root, episode), "frame_valid", values)
    return "invalid_frames", episode, frame


FAULTS: dict[str, Callable[..., Expected]] = {
    f.__name__: f
    for f in (
        frozen_camera, blank_frame, lost_video_frames, short_video, long_video, slow_video, other_size,
        truncated_video, truncated_rows, lost_video, swapped_cameras, time_back, stamp_back, time_gap, false_rate,
        slow_clock, false_info_fps, not_finite, out_of_limits, leap, stuck_state, constant_column, degrees,
        other_width, other_robot_named, frame_index_gap, index_gap, lost_episode_row, false_total,
        false_episode_length, lost_rows, false_video_range, task_out_of_list, other_task, no_task, false_statistics,
        false_episode_statistics, invalid_frames,
    )
}  # fmt: skip
