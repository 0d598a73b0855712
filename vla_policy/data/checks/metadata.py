"""Metadata of a LeRobot set, read without opening it: counts, numbers, lengths, tasks, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_json, read_json_lines, read_table
from vla_policy.data.lerobot.metadata import episode_files
from vla_policy.embodiment.findings import count

REWRITE = "Write the set anew from its source (`vla data convert`, `vla data merge --out`)"


def check_metadata(root: Path) -> Iterator[DataFinding]:
    """Compare the files below meta/ with each other."""
    info, problem = _read(root / layout.INFO, read_json)
    if problem is not None:
        yield problem
        return
    old = not str(info.get("codebase_version", "")).startswith("v3.")
    try:
        rows = _old_rows(root) if old else _rows(root)
    except (ValueError, FileNotFoundError) as error:
        yield fault("unreadable", _short(root, error), "Restore the file from a copy")
        return
    yield from _counts(root, info, rows, old=old)
    yield from _fps(info)


def _counts(
    root: Path, info: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, old: bool
) -> Iterator[DataFinding]:
    numbers = [int(r["episode_index"]) for r in rows]
    gap = next((k for k, n in enumerate(numbers) if n != k), None)
    if gap is not None:
        twice = numbers[gap] in numbers[:gap]
        yield fault(
            "index_gap",
            f"episode {gap} {'has the number of another' if twice else 'is missing'}: number {numbers[gap]} stands "
            "in its place, and readers that go by places take every later one for its neighbour",
            REWRITE,
            episode=gap,
        )
        return
    said = {k: info.get(k) for k in ("total_episodes", "total_frames")}
    actual = {"total_episodes": len(rows), "total_frames": sum(int(r["length"]) for r in rows)}
    # A killed writer leaves one extra row, which readers ignore.
    for key, value in said.items():
        if value is not None and value != actual[key]:
            yield fault(
                "false_length",
                f"{layout.INFO} states {key} {value}, the episodes give {actual[key]}",
                REWRITE,
                where=str(root / layout.INFO),
            )
            return
    if not old:
        yield from _ranges(rows)


def _ranges(rows: Sequence[Mapping[str, Any]]) -> Iterator[DataFinding]:
    start = 0
    for row in rows:
        episode, length = int(row["episode_index"]), int(row["length"])
        begin, end = int(row["dataset_from_index"]), int(row["dataset_to_index"])
        if end - begin != length:
            yield fault(
                "false_length",
                f"length is {length}, but its rows go from {begin} to {end}",
                REWRITE,
                episode=episode,
            )
            return
        if begin != start:
            yield fault(
                "index_gap",
                f"its rows begin at {begin}, expected {start} after the episode before",
                REWRITE,
                episode=episode,
            )
            return
        start = end


def check_video_ranges(root: Path, fps: float) -> Iterator[DataFinding]:
    """Time ranges of episodes in videos, by meta/episodes: as long as the rows, no overlap."""
    used: dict[tuple[str, int, int], tuple[float, int]] = {}
    for row in _rows(root):
        episode, length = int(row["episode_index"]), int(row["length"])
        for name in row:
            if not name.endswith("/from_timestamp"):
                continue
            key = name.removeprefix("videos/").removesuffix("/from_timestamp")
            begin, end = float(row[name]), float(row[f"videos/{key}/to_timestamp"])
            if abs((end - begin) * fps - length) > 0.5:
                yield fault(
                    "drift",
                    f"its video {key} takes {end - begin:.2f} s, {length} rows take {length / fps:.2f} s",
                    REWRITE,
                    episode=episode,
                    frame=min(length, round((end - begin) * fps)),
                )
                return
            file = (
                key,
                int(row[f"videos/{key}/chunk_index"]),
                int(row[f"videos/{key}/file_index"]),
            )
            before, other = used.get(file, (0.0, -1))
            if begin < before - 0.5 / fps:
                yield fault(
                    "drift",
                    f"its video {key} begins at {begin:.2f} s, inside that of episode {other}",
                    REWRITE,
                    episode=episode,
                    frame=0,
                )
                return
            used[file] = (end, episode)


def _fps(info: Mapping[str, Any]) -> Iterator[DataFinding]:
    fps = info.get("fps")
    for name, feature in (info.get("features") or {}).items():
        said = (feature.get("info") or feature.get("video_info") or {}).get("video.fps")
        if fps and said is not None and abs(float(said) / float(fps) - 1) > 0.01:
            yield fault(
                "false_fps",
                f"{layout.INFO} states {fps:g} frames a second, and {said:g} for {name}",
                "Correct fps in meta/info.json to that of the recording",
                where=layout.INFO,
            )
            return


def check_tasks(
    tasks: Sequence[str], episodes: Sequence[tuple[str, ...]]
) -> Iterator[DataFinding]:
    """Every episode has a task as text."""
    known = Counter(tasks)
    for episode, named in enumerate(episodes):
        wrong = [t for t in named if not t.strip() or t not in known]
        if not named or wrong:
            says = (
                "has no task"
                if not named or not wrong[0].strip()
                else f"its task {wrong[0]!r} is not in the list of tasks"
            )
            yield fault(
                "task",
                says,
                "Name it with `vla data edit --task OLD=NEW`: a policy learns what the words mean from it",
                episode=episode,
            )


def file_findings(
    root: Path, entries: Sequence[Any], totals: Mapping[Path, int]
) -> Iterator[DataFinding]:
    """Videos with more frames than the rows of their episodes.

    totals: file -> number of frames.
    """
    rows: Counter[Path] = Counter()
    last: dict[Path, tuple[int, int, str]] = {}
    for entry in entries:
        for camera, (path, _) in entry.videos.items():
            rows[path] += entry.length
            last[path] = (entry.index, entry.length, camera)
    for path, total in totals.items():
        more = total - rows[path]
        if path in last and more > 0:
            episode, length, camera = last[path]
            yield fault(
                "drift",
                f"the video of camera {camera} has {count(more, 'frame')} more than there are rows "
                f"({total} and {rows[path]}): the rows may show other moments",
                "Convert the bag again, or delete the episode with `vla data edit --delete`",
                episode=episode,
                frame=length,
                frames=more,
                where=str(path.relative_to(root)),
            )


def _rows(root: Path) -> list[dict[str, Any]]:
    files = episode_files(root)
    rows: list[dict[str, Any]] = []
    for path in files:
        table = read_table(path)
        rows += table.select(
            [n for n in table.column_names if not n.startswith("stats/")]
        ).to_pylist()
    return rows


def _old_rows(root: Path) -> list[dict[str, Any]]:
    return read_json_lines(root / "meta" / "episodes.jsonl")


def _read(path: Path, reader: Any) -> tuple[Any, DataFinding | None]:
    try:
        return reader(path), None
    except (ValueError, FileNotFoundError) as error:
        return {}, fault("unreadable", str(error), "Restore the file from a copy", where=str(path))


def _short(root: Path, error: Exception) -> str:
    return str(error).replace(f"{root}/", "")
