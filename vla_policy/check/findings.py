"""One thing that is wrong with a configuration: how bad, where, what, and what to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..fields import Place

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """level: ERROR cannot work or is dangerous; WARNING may be meant. where: 'file:line' or a topic.

    says: what is wrong. change: what to do about it.
    """

    level: str
    where: str
    says: str
    change: str

    def __str__(self) -> str:
        return f"{self.where}: {self.says}. {self.change}"


def error(place: Place, says: str, change: str) -> Finding:
    """A finding that must be put right; says follows the path of the key."""
    return Finding(ERROR, place.where, f"{place.path}: {says}" if place.path else says, change)


def warning(place: Place, says: str, change: str) -> Finding:
    """A finding that may be meant."""
    return Finding(WARNING, place.where, f"{place.path}: {says}" if place.path else says, change)


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that must be put right."""
    return tuple(f for f in findings if f.level == ERROR)
