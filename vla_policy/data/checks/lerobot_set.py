"""A whole LeRobot set: metadata, every episode in several processes, comparisons over all."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from vla_policy.data.checks.bounds import UNKNOWN, ColumnBounds
from vla_policy.data.checks.causes import root_causes
from vla_policy.data.checks.columns import check_constant, check_mixed
from vla_policy.data.checks.episode_data import EpisodeReport
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.data.checks.frozen import check_frozen
from vla_policy.data.checks.lengths import check_lengths
from vla_policy.data.checks.lerobot_episode import check_episode
from vla_policy.data.checks.metadata import (
    check_metadata,
    check_tasks,
    check_video_ranges,
    file_findings,
)
from vla_policy.data.checks.statistics_fit import check_statistics
from vla_policy.data.checks.swapped import check_swapped
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_json_lines, read_table
from vla_policy.data.lerobot.metadata import episode_files
from vla_policy.data.lerobot.reader import DataSet, open_set

Tell = Callable[[int], None]
VIDEO_FAULTS = frozenset(("drift", "missing_frames", "false_length", "false_fps", "unreadable"))
FEW = 2000  # frames that one process reads before others have started


@dataclass(frozen=True, slots=True)
class CheckJob:
    """Input of a worker: the set, the robot's bounds, options."""

    root: Path
    bounds: ColumnBounds
    quick: bool


def check_set(
    root: Path,
    bounds: ColumnBounds = UNKNOWN,
    *,
    quick: bool = False,
    workers: int = 0,
    episodes: Sequence[int] | None = None,
    tell: Tell = lambda done: None,
) -> tuple[DataFinding, ...]:
    """All findings, those of the set first, then by episode. tell: called with the number done.

    episodes: those to read; None: all. Checks that need all of them are then left out.
    """
    found = list(check_metadata(root))
    try:
        data = open_set(root)
    except (ValueError, FileNotFoundError) as error:
        if not found:
            says = str(error).replace(f"{root}/", "")
            found = [fault("unreadable", says, "Restore the file from a copy")]
        return tuple(found)
    if any(f.code in ("false_fps", "index_gap") for f in found):
        return tuple(found)  # all else depends on it
    found += _names(data)
    if not found and data.version.startswith("v3.") and len(data):
        found += check_video_ranges(root, data.fps)
    found += check_tasks(data.tasks, [e.tasks for e in data.entries])
    read = range(len(data.entries)) if episodes is None else episodes
    reports = []
    for done, report in enumerate(_reports(CheckJob(root, bounds, quick), data, read, workers), 1):
        reports.append(report)
        tell(done)
    found += [f for r in reports for f in r.findings]
    found += _of_set(reports, data, whole=episodes is None)
    return root_causes(found)


def _of_set(
    reports: Sequence[EpisodeReport], data: DataSet, *, whole: bool
) -> Iterator[DataFinding]:
    """Findings that need the whole set."""
    mixed = list(check_mixed(reports))
    yield from mixed
    yield from check_swapped(reports)
    yield from check_frozen(reports)
    yield from check_lengths(reports, data.fps)
    yield from check_constant(reports)
    if whole and not mixed:
        yield from check_statistics(reports, data.stats, layout.STATS, exact=bool(data.own))
    if whole and not any(f.code in VIDEO_FAULTS for r in reports for f in r.findings):
        yield from _files(data)


def _names(data: DataSet) -> Iterator[DataFinding]:
    """Two names of the robot in one set."""
    own = str(data.own.get("robot", ""))
    if own and data.robot_type and own != data.robot_type:
        yield fault(
            "mixed_robots",
            f"{layout.INFO} states robot {data.robot_type!r}, {layout.OWN_SET} {own!r}",
            "Write the name of the robot that it was recorded with: `vla data edit --robot NAME`",
        )


def _reports(
    job: CheckJob, data: DataSet, read: Sequence[int], workers: int
) -> Iterator[EpisodeReport]:
    stored = _episode_statistics(job.root, data)
    work = [(k, stored.get(k)) for k in read]
    many = min(workers or os.cpu_count() or 1, len(work))
    if many <= 1 or (not workers and sum(data.entries[k].length for k in read) < FEW):
        for number, kept in work:
            yield check_episode(data, number, job.bounds, stored=kept, quick=job.quick)
        return
    # A forked process would inherit the threads' locks, but not the threads, of its parent.
    context = multiprocessing.get_context("spawn")
    with context.Pool(many, _start, (job,)) as pool:
        yield from pool.imap(_one, work)


_OPENED: list[tuple[DataSet, CheckJob]] = []  # of this worker


def _start(job: CheckJob) -> None:
    _OPENED[:] = [(open_set(job.root), job)]


def _one(work: tuple[int, Mapping[str, Any] | None]) -> EpisodeReport:
    data, job = _OPENED[0]
    return check_episode(data, work[0], job.bounds, stored=work[1], quick=job.quick)


def _episode_statistics(root: Path, data: DataSet) -> dict[int, dict[str, Any]]:
    """Statistics that the set has by episode: feature -> statistics."""
    try:
        if not data.version.startswith("v3."):
            path = root / "meta" / "episodes_stats.jsonl"
            lines = read_json_lines(path) if path.exists() else []
            return {int(line["episode_index"]): dict(line["stats"]) for line in lines}
        found: dict[int, dict[str, Any]] = {}
        for file in episode_files(root):
            table = read_table(file)
            names = [n for n in table.column_names if n.startswith("stats/")]
            for row in table.select(["episode_index", *names]).to_pylist():
                stats: dict[str, Any] = {}
                for name in names:
                    feature, _, what = name.removeprefix("stats/").rpartition("/")
                    if row[name] is not None:
                        stats.setdefault(feature, {})[what] = row[name]
                found[int(row["episode_index"])] = stats
        return found
    except (ValueError, KeyError, FileNotFoundError):
        return {}  # reported where the set is opened


def _files(data: DataSet) -> Iterator[DataFinding]:
    totals: dict[Path, int] = {}
    for path in {p for e in data.entries for p, _ in e.videos.values()}:
        try:
            with av.open(str(path)) as container:
                totals[path] = int(container.streams.video[0].frames)
        except (av.FFmpegError, OSError, IndexError):
            continue  # reported with its episode
    yield from file_findings(data.root, data.entries, totals)
