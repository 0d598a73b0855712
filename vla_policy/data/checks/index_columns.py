"""Columns that number the rows of an episode: gaps, repetitions and unknown tasks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_policy.data.checks.episode_data import EpisodeRows
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.embodiment.findings import count

RENUMBER = (
    "Write the set anew with `vla data edit --out` from a whole source, or delete the episode"
)


def check_index(rows: EpisodeRows) -> Iterator[DataFinding]:
    """frame_index counts from 0, index through the set, task_index names a task."""
    expected = np.arange(len(rows))
    starts = {"frame_index": 0} | ({} if rows.start is None else {"index": rows.start})
    for name, start in starts.items():
        values = rows.columns.get(name)
        if values is None:
            continue
        wrong = np.flatnonzero(np.asarray(values, np.int64).reshape(-1) != expected + start)
        if len(wrong):
            at = int(wrong[0])
            yield fault(
                "index_gap",
                f"{name} is {int(values[at])}, expected {at + start}; {count(len(wrong), 'row')} so",
                RENUMBER,
                frame=at,
                frames=len(wrong),
            )
            return  # the others follow from it
    yield from _check_task(rows)


def _check_task(rows: EpisodeRows) -> Iterator[DataFinding]:
    values = rows.columns.get("task_index")
    if values is None or rows.tasks is None:
        return
    codes = np.asarray(values, np.int64).reshape(-1)
    outside = (codes < 0) | (codes >= len(rows.tasks))
    others = [k for k, task in enumerate(rows.tasks) if rows.named and task not in rows.named]
    wrong = np.flatnonzero(outside | np.isin(codes, others))
    if len(wrong):
        at, code = int(wrong[0]), int(codes[wrong[0]])
        says = (
            f"task_index is {code}, expected 0 to {len(rows.tasks) - 1}"
            if outside[at]
            else f"task_index is {code} ({rows.tasks[code]!r}), which is no task of this episode"
        )
        change = "Name the task with `vla data edit --task OLD=NEW`, or delete the episode"
        yield fault("task", says, change, frame=at, frames=len(wrong))
