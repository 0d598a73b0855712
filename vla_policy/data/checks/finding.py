"""One fault of recorded data: where it is and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vla_policy.embodiment.findings import ERROR, WARNING, Finding
from vla_policy.types import Array


@dataclass(frozen=True, slots=True)
class DataFinding:
    """level: ERROR spoils training or reading; WARNING may be meant. code: kind of fault, the same for all sets.

    episode, frame: of the first place; None where it is of the whole set, or of the whole episode.
    frames: at how many places. where: a file, '' for the set.
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
        """As `vla check` prints findings."""
        return Finding(self.level, self.where or root, self.place, self.says, self.change)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def fault(code: str, says: str, change: str, **where: Any) -> DataFinding:
    """What spoils training or reading."""
    return DataFinding(ERROR, code, says, change, **where)


def doubt(code: str, says: str, change: str, **where: Any) -> DataFinding:
    """What may be meant."""
    return DataFinding(WARNING, code, says, change, **where)


def in_episode(findings: Iterable[DataFinding], episode: int) -> Iterator[DataFinding]:
    """The findings of one episode, with its number."""
    return (replace(finding, episode=episode) for finding in findings)


def runs(where: Array) -> list[tuple[int, int]]:
    """(first, last) of each stretch of true values in bool[n]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.asarray(where, bool), [False]))))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]
