"""Metadata of a set of version 3.0, read into one value and extended by an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_json, read_table
from vla_policy.data.lerobot.statistics import together

PANDAS = (
    '{"index_columns": ["task"], "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", '
    '"numpy_type": "object", "metadata": {"encoding": "UTF-8"}}], "columns": [{"name": "task_index", "field_name": '
    '"task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": null}, {"name": "task", "field_name": '
    '"task", "pandas_type": "unicode", "numpy_type": "object", "metadata": null}], "creator": {"library": "pyarrow", '
    '"version": "15.0.0"}, "pandas_version": "2.0.0"}'
)


@dataclass(frozen=True, slots=True)
class SetState:
    """info, stats: as in the files. tasks: by task_index. rows: of meta/episodes, by file."""

    info: Mapping[str, Any]
    stats: Mapping[str, Any]
    tasks: tuple[str, ...]
    files: tuple[pa.Table, ...]

    @property
    def episodes(self) -> int:
        return int(self.info["total_episodes"])

    @property
    def frames(self) -> int:
        return int(self.info["total_frames"])


def read_state(root: Path) -> SetState:
    """The state of the set below root. Raises FileNotFoundError, or ValueError naming the file."""
    info = read_json(root / layout.INFO)
    stats = read_json(root / layout.STATS) if (root / layout.STATS).exists() else {}
    if not info["total_episodes"]:
        tasks = read_tasks(root) if (root / layout.TASKS).exists() else ()
        return SetState(info, stats, tasks, ())
    tables = tuple(_as_made(read_table(p)) for p in episode_files(root))
    # A change that was interrupted before info.json was replaced leaves an extra row at the end.
    return SetState(info, stats, read_tasks(root), _first(tables, int(info["total_episodes"])))


def _as_made(table: pa.Table) -> pa.Table:
    """A table from a file, with the types of rows_table: parquet names list items otherwise."""
    fields = [(f.name, _plain(f.type)) for f in table.schema]
    return table.replace_schema_metadata(None).cast(pa.schema(fields))


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.list_(_plain(kind.value_type)) if pa.types.is_list(kind) else kind


def _first(tables: Sequence[pa.Table], count: int) -> tuple[pa.Table, ...]:
    kept: list[pa.Table] = []
    for table in tables:
        table = table.slice(0, max(0, count))
        count -= len(table)
        if len(table):
            kept.append(table)
    return tuple(kept)


def episode_files(root: Path) -> list[Path]:
    return sorted((root / "meta" / "episodes").glob("*/*.parquet"))


def read_tasks(root: Path) -> tuple[str, ...]:
    """Tasks by their index. Raises ValueError."""
    path = root / layout.TASKS
    table = read_table(path)
    # pandas' name of an unnamed index.
    name = next((n for n in ("task", "__index_level_0__") if n in table.column_names), None)
    if name is None or "task_index" not in table.column_names:
        raise ValueError(f"{path}: got columns {table.column_names}, expected task and task_index")
    found = dict(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
    if sorted(found) != list(range(len(found))):
        raise ValueError(
            f"{path}: got indices {sorted(found)[:10]}, expected 0 to {len(found) - 1}"
        )
    return tuple(str(found[i]) for i in range(len(found)))


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """tasks.parquet in pandas' form of a table whose index is the task."""
    columns = {
        "task_index": pa.array(range(len(tasks)), pa.int64()),
        "task": pa.array(list(tasks), pa.string()),
    }
    return pa.table(columns).replace_schema_metadata({"pandas": PANDAS})


def episode_row(
    *,
    episode: int,
    tasks: Sequence[str],
    length: int,
    start: int,
    data_file: int,
    videos: Mapping[str, tuple[int, float, float]],
    stats: Mapping[str, Mapping[str, Any]],
    episodes_file: int,
) -> dict[str, Any]:
    """A row of meta/episodes. videos: key -> (file number, from, to) s. stats: by feature."""
    row: dict[str, Any] = {"episode_index": episode, "tasks": list(tasks), "length": length}
    row |= {f"data/{k}": v for k, v in layout.place(data_file).items()}
    row |= {"dataset_from_index": start, "dataset_to_index": start + length}
    for key, (number, begin, end) in videos.items():
        row |= {f"videos/{key}/{k}": v for k, v in layout.place(number).items()}
        row |= {f"videos/{key}/from_timestamp": begin, f"videos/{key}/to_timestamp": end}
    row |= {f"stats/{name}/{k}": v for name, found in stats.items() for k, v in found.items()}
    return row | {f"meta/episodes/{k}": v for k, v in layout.place(episodes_file).items()}


def rows_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """meta/episodes of rows; a statistic that one episode lacks is null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({n: pa.array([r.get(n) for r in rows], _kind(n, rows)) for n in names})


def _kind(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.DataType:
    if name == "tasks":
        return pa.list_(pa.string())
    if name.endswith("_timestamp"):
        return pa.float64()
    if not name.startswith("stats/"):
        return pa.int64()
    if name.endswith("/count"):
        return pa.list_(pa.int64())
    value = next(r[name] for r in rows if r.get(name) is not None)
    kind: pa.DataType = pa.float64()
    while isinstance(value, list):
        kind, value = pa.list_(kind), value[0]
    return kind


def joined_stats(total: Mapping[str, Any], episode: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics of a set with one more episode."""
    names = list(dict.fromkeys((*total, *episode)))
    return {n: together([s[n] for s in (total, episode) if n in s]) for n in names}
