"""One episode of a LeRobot set, read row by row and image by image, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from vla_policy.data.checks.bounds import ColumnBounds
from vla_policy.data.checks.episode import check_rows, sums_by_feature
from vla_policy.data.checks.episode_data import CameraSummary, EpisodeReport, EpisodeRows, StillRun
from vla_policy.data.checks.finding import DataFinding, fault, in_episode
from vla_policy.data.checks.pictures import CameraPass, thumbnail
from vla_policy.data.checks.statistics_fit import CAUSES, check_episode_statistics
from vla_policy.data.checks.videos import check_window, scan_video
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_table
from vla_policy.data.lerobot.layout import ACTION, STATE
from vla_policy.data.lerobot.reader import DataSet, numbers
from vla_policy.embodiment.findings import count

RESTORE = "Restore the file from a copy, or convert the bag again; else delete the episode"


def check_episode(
    data: DataSet,
    number: int,
    bounds: ColumnBounds,
    *,
    stored: Mapping[str, Any] | None = None,
    quick: bool = False,
) -> EpisodeReport:
    """Findings of one episode, and data for judging the set.

    stored: statistics that the set has for this episode. quick: images are not decoded.
    """
    entry = data.entries[number]
    found: list[DataFinding] = []
    table, problem = _table(data, number)
    if problem is not None:
        found.append(problem)
    rows = _rows(data, number, table, found)
    summaries: dict[str, CameraSummary] = {}
    still: list[StillRun] = []
    for camera in data.cameras:
        seen = CameraPass(camera, rows)
        if camera in entry.videos:
            found += _video(data, number, seen, quick=quick)
        elif table is not None and not quick:
            found += _embedded(data, table, seen)
        summary = seen.end()
        if summary is not None:
            found += seen.findings()
            summaries[camera] = summary
            still += seen.still
    if len(rows):
        found += check_rows(rows, bounds)
    sums = sums_by_feature(rows, data.stats)
    if stored and not any(f.code in CAUSES for f in found):
        found += check_episode_statistics(sums, stored, "")
    return EpisodeReport(
        episode=number,
        findings=tuple(in_episode(found, number)),
        length=entry.length,
        task=entry.tasks[0] if entry.tasks else "",
        sums=sums,
        names={STATE: data.state_names, ACTION: data.action_names},
        still=tuple(still),
        cameras=summaries,
    )


def _table(data: DataSet, number: int) -> tuple[pa.Table | None, DataFinding | None]:
    """The file's rows of this episode, even if too few."""
    entry = data.entries[number]
    where = _inside(data, entry.data)
    try:
        table = read_table(entry.data, filters=[("episode_index", "=", entry.index)])
    except (ValueError, FileNotFoundError) as error:
        says = str(error).replace(f"{data.root}/", "")
        return None, fault("unreadable", says, RESTORE, frame=0, frames=entry.length, where=where)
    if len(table) != entry.length:
        rows = len(table)
        return table, fault(
            "false_length",
            f"meta states {count(entry.length, 'frame')}, its file has {count(rows, 'row')}",
            RESTORE,
            frame=min(rows, entry.length),
            frames=abs(rows - entry.length),
            where=where,
        )
    return table, None


def _rows(
    data: DataSet, number: int, table: pa.Table | None, found: list[DataFinding]
) -> EpisodeRows:
    entry = data.entries[number]
    columns = {}
    cells = {} if table is None else {n: table[n] for n in table.column_names}
    for name, values in cells.items():
        feature = data.features.get(name)
        if feature is None or feature["dtype"] in ("image", "video", "string", "language"):
            continue
        try:
            columns[name] = numbers(values, feature)
        except (ValueError, TypeError, pa.ArrowException) as error:
            found.append(
                fault(
                    "mixed_robots",
                    f"{name}: {error}: its rows are not those that {layout.INFO} describes",
                    "Delete the episode: it is of another robot, or was written with other columns",
                    frame=0,
                    where=_inside(data, entry.data),
                )
            )
    return EpisodeRows(
        episode=number,
        columns=columns,
        names={
            STATE: data.state_names,
            ACTION: data.action_names,
            layout.PROPOSED: data.action_names,
        },
        fps=data.fps,
        start=entry.start,
        stamps_ns=_stamps(data, number),
        tasks=data.tasks,
        named=entry.tasks if all(t.strip() for t in entry.tasks) else (),
    )


def _stamps(data: DataSet, number: int) -> Any:
    path = data.root / layout.OWN_AGES.format(episode=number)
    if not path.exists():
        return None
    return np.array(read_table(path, ["stamp_ns"])["stamp_ns"].to_pylist(), np.int64)


def _video(data: DataSet, number: int, seen: CameraPass, *, quick: bool) -> list[DataFinding]:
    entry = data.entries[number]
    path, begin = entry.videos[seen.camera]
    if not path.is_file():
        says = f"the video of camera {seen.camera} is not there"
        return [
            fault(
                "unreadable",
                says,
                RESTORE,
                frame=0,
                frames=entry.length,
                where=_inside(data, path),
            )
        ]
    window = scan_video(path, begin, entry.length, data.fps, None if quick else seen.add)
    seen.size = window.size
    found = list(check_window(seen.camera, window, begin, entry.length, data.fps))
    shape = data.features[data.camera_features[seen.camera]]["shape"]
    expected = tuple(shape[:2] if shape[-1] in (3, 4) else shape[1:])
    if not found and window.size != expected:
        found.append(
            fault(
                "image_size",
                f"the video of camera {seen.camera} is {window.size[1]} x {window.size[0]}, {layout.INFO} states "
                f"{expected[1]} x {expected[0]}",
                "Delete the episode, or encode it again at that size",
                frame=0,
            )
        )
    return found


def _embedded(data: DataSet, table: pa.Table, seen: CameraPass) -> list[DataFinding]:
    column = table[data.camera_features[seen.camera]]
    for place in range(len(table)):
        cell = column[place].as_py() or {}
        content = cell.get("bytes")
        if content is None and cell.get("path"):
            file = (data.root / cell["path"]).resolve()
            content = (
                file.read_bytes()
                if data.root.resolve() in file.parents and file.is_file()
                else None
            )
        image = (
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        )
        if image is None:
            says = f"the image of camera {seen.camera} is not readable"
            return [fault("unreadable", says, RESTORE, frame=place)]
        seen.size = (image.shape[0], image.shape[1])
        seen.add(thumbnail(np.ascontiguousarray(image[..., ::-1])))
    return []


def _inside(data: DataSet, path: Path) -> str:
    return str(path.relative_to(data.root)) if data.root in path.parents else str(path)
