"""One fault of a configuration: level, place, message and fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vla_policy.parsing.fields import Place

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """level: ERROR cannot work or is dangerous; WARNING may be intended.

    where: 'file:line' or topic.
    key: path of the key in the file, '' for the file. says: the message. change: the fix.
    """

    level: str
    where: str
    key: str
    says: str
    change: str

    @property
    def told(self) -> str:
        """Place and message as text."""
        return ": ".join(part for part in (self.where, self.key, self.says) if part)

    def __str__(self) -> str:
        return f"{self.told}. {self.change}"


def error(place: Place, says: str, change: str) -> Finding:
    """A finding that must be fixed."""
    return Finding(ERROR, place.where, place.path, says, change)


def warning(place: Place, says: str, change: str) -> Finding:
    """A finding that may be intended."""
    return Finding(WARNING, place.where, place.path, says, change)


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that must be fixed."""
    return tuple(f for f in findings if f.level == ERROR)


def count(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"
