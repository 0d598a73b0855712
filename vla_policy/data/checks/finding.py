"""One fault of recorded data: its place and its fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vla_policy.embodiment.findings import ERROR, WARNING, Finding
from vla_policy.types import Array


@dataclass(frozen=True, slots=True)
class DataFinding:
    """level: ERROR spoils training or reading; WARNING may be intended. code: the kind of fault.

    episode, frame: of the first place; None for the whole set, or the whole episode.
    frames: number of places. where: a file, '' for the set.
    """

    level: str
    code: str
    says: str
    change: str
    episode: int | None = None
    frame: int | None = None
    frames: int = 1
    where: str = ""

    @property
    def place(self) -> str:
        """Episode and frame as text."""
        named = (("episode", self.episode), ("frame", self.frame))
        return ", ".join(f"{what} {number}" for what, number in named if number is not None)

    def finding(self, root: str) -> Finding:
        """In the form printed by `vla check`."""
        return Finding(self.level, self.where or root, self.place, self.says, self.change)

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def fault(code: str, says: str, change: str, **where: Any) -> DataFinding:
    """A fault that spoils training or reading."""
    return DataFinding(ERROR, code, says, change, **where)


def doubt(code: str, says: str, change: str, **where: Any) -> DataFinding:
    """A fault that may be intended."""
    return DataFinding(WARNING, code, says, change, **where)


def in_episode(findings: Iterable[DataFinding], episode: int) -> Iterator[DataFinding]:
    """The findings of one episode, with its number."""
    return (replace(finding, episode=episode) for finding in findings)


def runs(where: Array) -> list[tuple[int, int]]:
    """(first, last) of each run of true values in bool[n]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.asarray(where, bool), [False]))))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
