"""A LeRobot data set as a source of demonstrations: numbers are read at once, images on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from vla_policy.data.frame import CONTROL_SOURCES
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_table
from vla_policy.data.lerobot.reader import DataSet, numbers
from vla_policy.parsing.files import within
from vla_policy.train.set_numbers import NOT_SAID, SetNumbers
from vla_policy.types import Array, Level

SUCCESS = "next.success"
GUARD_LEVEL = "guard_level"
FLAGS = ("timestamp", "task_index", "frame_valid", "control_source", "intervention", SUCCESS)


class LeRobotSource:
    """SetSource of a set of version 2.x or 3.x. Raises ValueError naming the file that cannot be read."""

    def __init__(self, data: DataSet) -> None:
        self.data = data
        self.label = data.root.name or str(data.root)
        self.robot_name, self.fps = data.robot_type, float(data.fps)
        self.own, self.robot_yaml = bool(data.own), data.robot_yaml
        self.cameras = data.cameras
        self.state_names, self.action_names = data.state_names, data.action_names
        for name in (layout.STATE, layout.ACTION):
            if name not in data.features:
                raise ValueError(f"{data.root}: has no feature {name!r}, expected one")
        columns = _columns(data)
        self._task = columns["task_index"].astype(np.int64)
        self.numbers = _numbers(data, columns)
        self._about = [data.own_episode(e) if self.own else {} for e in range(len(data.entries))]
        self._success = [self._outcome(e, columns.get(SUCCESS)) for e in range(len(data.entries))]

    def image(self, episode: int, number: int, camera: str) -> Array:
        """As SetSource.image."""
        return self.data.image(episode, number, camera)

    def sentences(self, episode: int, number: int) -> Sequence[str]:
        """The frame's task first; the episode's tasks that no frame has are rephrasings of it."""
        first = int(self.numbers.first[episode])
        own = self._task[first : first + int(self.numbers.length[episode])]
        task = self.data.tasks[int(own[number])] if self.data.tasks else ""
        said = {self.data.tasks[i] for i in np.unique(own)} if self.data.tasks else set()
        others = [t for t in self.data.entries[episode].tasks if t not in said]
        # With several tasks in one episode it is unknown which of them the others rephrase.
        return [t for t in (task, *(others if len(said) == 1 else ())) if t.strip()]

    def success(self, episode: int) -> bool | None:
        """As SetSource.success."""
        return self._success[episode]

    def _outcome(self, episode: int, marks: Array | None) -> bool | None:
        if "success" in self._about[episode]:
            said = self._about[episode]["success"]
            return None if said is None else bool(said)
        first = int(self.numbers.first[episode])
        end = first + int(self.numbers.length[episode])
        return None if marks is None else bool(marks[first:end].any())

    def identity(self, episode: int) -> str:
        """The time of its recording; its number if the set does not have that."""
        start = self._about[episode].get("start_ns")
        return f"start {start}" if start is not None else f"episode {episode}"


def _columns(data: DataSet) -> dict[str, Array]:
    """The learned columns, [n] or [n, width], in episode order; each file is read once."""
    own = (layout.PROPOSED, GUARD_LEVEL) if data.own else ()
    wanted = [n for n in (layout.STATE, layout.ACTION, *FLAGS, *own) if n in data.features]
    parts: dict[str, list[Array]] = {name: [] for name in wanted}
    path: Path | None = None
    episodes = np.zeros(0, np.int64)
    columns: dict[str, Array] = {}
    for entry in data.entries:
        if entry.data != path:
            path = entry.data
            table = read_table(path, [*wanted, "episode_index"])
            episodes = table["episode_index"].to_numpy()
            columns = {n: _column(data, table[n], n, path) for n in wanted}
        rows = np.flatnonzero(episodes == entry.index)
        if len(rows) != entry.length:
            raise ValueError(
                f"{path}: got {len(rows)} rows of episode {entry.index}, expected {entry.length}"
            )
        for name in wanted:
            parts[name].append(columns[name][rows])
    count = sum(entry.length for entry in data.entries)
    joined = {n: np.concatenate(v) if v else np.zeros((0, 1)) for n, v in parts.items()}
    joined.setdefault("task_index", np.zeros(count, np.int64))
    return joined


def _column(data: DataSet, values: pa.ChunkedArray, name: str, path: Path) -> Array:
    with within(path):
        return numbers(values, data.features[name])


def _numbers(data: DataSet, columns: dict[str, Array]) -> SetNumbers:
    count = len(columns[layout.STATE])
    length = np.array([entry.length for entry in data.entries], np.int64)
    first = np.cumsum(length) - length
    place = np.arange(count) - np.repeat(first, length)
    seconds = columns.get("timestamp")
    source = np.full(count, NOT_SAID, np.int8)
    if data.own and "control_source" in columns:
        source = _sources(data, columns["control_source"])
    no = np.zeros(count, bool)
    return SetNumbers(
        first=first,
        length=length,
        state=columns[layout.STATE].reshape(count, -1).astype(np.float32),
        action=columns[layout.ACTION].reshape(count, -1).astype(np.float32),
        seconds=place / data.fps if seconds is None else seconds.reshape(-1).astype(np.float64),
        valid=columns.get("frame_valid", ~no).reshape(-1).astype(bool),
        source=source,
        correction=columns.get("intervention", no).reshape(-1).astype(bool),
        finished=no,
        proposed=_proposed(columns),
    )


def _proposed(columns: dict[str, Array]) -> Array | None:
    """As SetNumbers.proposed."""
    if layout.PROPOSED not in columns:
        return None
    proposed = columns[layout.PROPOSED]
    proposed = np.array(proposed.reshape(len(proposed), -1), np.float32)
    if GUARD_LEVEL in columns:
        proposed[columns[GUARD_LEVEL].reshape(-1) >= Level.HOLD] = np.nan
    return proposed


def _sources(data: DataSet, codes: Array) -> Array:
    """int8[n]: the set's codes as indices of CONTROL_SOURCES; unknown ones are 'other'."""
    other = CONTROL_SOURCES.index("other")
    said = data.own.get("control_sources", CONTROL_SOURCES)
    table = [CONTROL_SOURCES.index(s) if s in CONTROL_SOURCES else other for s in said]
    known = np.array([*table, other], np.int8)
    codes = codes.reshape(-1)
    return known[np.where((codes >= 0) & (codes < len(table)), codes, len(table))]
