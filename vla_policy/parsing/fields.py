"""Strict reading of configuration: each function takes a plain value and returns a typed one.

Every refusal is a ValueError with the file, the path of the key, what was got and what was
expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from vla_policy.parsing import strict_yaml
from vla_policy.parsing.files import one_line, read_text

# Matched with fullmatch: in Python `$` also matches before a final newline.
TOPIC = re.compile(r"[~/]?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-/]*")
MANY = 512  # names in one list; more are no robot
TOOL = re.compile(r"[A-Za-z0-9_]+\.ee")


@dataclass(frozen=True, slots=True)
class Place:
    """A file and the path of a key inside it, for error messages.

    lines: path of a key -> its line in the file, counted from 1; empty if unknown.
    """

    file: str
    path: str = ""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def at(self, key: str | int) -> Place:
        """The place of an entry below this one."""
        return Place(self.file, _below(self.path, key), self.lines)

    @property
    def where(self) -> str:
        """'file:line' of the key, or of its parent if missing; the file if no line is known."""
        path = self.path
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return f"{self.file}:{self.lines[path]}" if path in self.lines else self.file

    def refuse(self, got: Any, expected: str) -> Refused:
        """The error for an unexpected value."""
        says = f"{self.path or 'top level'}: got {_show(got)}, expected {expected}"
        return Refused(self.where, says)


class Refused(ValueError):
    """An unexpected value. where: 'file:line'. says: key, got and expected."""

    def __init__(self, where: str, says: str) -> None:
        super().__init__(f"{where}: {says}")
        self.where, self.says = where, says


def read_yaml(path: Path) -> tuple[Any, Place]:
    """The content of a YAML file and its place.

    Raises ValueError for whatever parsing/ refuses.
    """
    try:
        text = read_text(path, strict_yaml.LIMIT)
    except OSError as error:
        raise ValueError(str(error)) from error
    try:
        loader = strict_yaml.StrictLoader(text)
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _not_yaml(path, error) from error
    lines = {} if node is None else dict(_lines(node, "", set()))
    return content, Place(str(path), "", MappingProxyType(lines))


def mapping(
    value: Any, place: Place, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """A mapping with exactly these keys; an unknown one is refused with its nearest neighbour."""
    known = [*required, *optional]
    if not isinstance(value, dict):
        raise place.refuse(value, f"a mapping with {', '.join(known)}")
    for key in value:
        if key not in known:
            near = get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise place.at(str(key)).refuse("an unknown key", f"one of {', '.join(known)}{hint}")
    for key in required:
        if key not in value:
            raise place.at(key).refuse("nothing", "this key, it has no default")
    return value


def named(value: Any, place: Place, what: str) -> dict[str, Any]:
    """A mapping with arbitrary names as keys; not empty."""
    if not isinstance(value, dict) or not 0 < len(value) <= MANY:
        raise place.refuse(value, f"a mapping from {what}, at least one and at most {MANY}")
    for key in value:
        if not isinstance(key, str) or not NAME.fullmatch(key):
            raise place.refuse(key, f"{what}: letters, digits and _")
    return value


def text(value: Any, place: Place, what: str, pattern: re.Pattern[str] | None = None) -> str:
    """A non-empty string that pattern fully matches; printable without a pattern."""
    if not isinstance(value, str) or not value.strip():
        raise place.refuse(value, what)
    if pattern is not None and not pattern.fullmatch(value):
        raise place.refuse(value, what)
    if not value.rstrip("\n").isprintable():
        raise place.refuse(value, f"{what}, of printable characters on one line")
    return value


def topic(value: Any, place: Place) -> str:
    """A ROS topic name."""
    return text(value, place, "a ROS topic name", TOPIC)


def choice(value: Any, place: Place, options: Sequence[str]) -> str:
    """One of options."""
    if not isinstance(value, str) or value not in options:
        near = get_close_matches(str(value), options, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise place.refuse(value, f"one of {', '.join(options)}{hint}")
    return value


def number(value: Any, place: Place, low: float, high: float, unit: str = "") -> float:
    """A finite number, low <= value <= high. True and '3' are not numbers."""
    expected = f"a number from {low:g} to {high:g}{' ' + unit if unit else ''}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise place.refuse(value, expected)
    if not (low <= value <= high and math.isfinite(value)):  # in this order: 10**400 is no float
        raise place.refuse(value, expected)
    return float(value)


def numbers(
    value: Any, place: Place, count: int, low: float, high: float, unit: str = ""
) -> np.ndarray:
    """float64[count], read-only, each finite and in [low, high]."""
    if not isinstance(value, list):
        raise place.refuse(value, f"a list of {count} numbers")
    if len(value) != count:
        raise place.refuse(f"{len(value)} values", f"{count} values")
    array = np.array(
        [number(v, place.at(i), low, high, unit) for i, v in enumerate(value)], dtype=np.float64
    )
    array.setflags(write=False)
    return array


def names(value: Any, place: Place, what: str) -> tuple[str, ...]:
    """A list of distinct names, not empty."""
    if not isinstance(value, list) or not 0 < len(value) <= MANY:
        raise place.refuse(value, f"a list of {what}, at least one and at most {MANY}")
    for i, name in enumerate(value):
        text(name, place.at(i), f"the name of {what}", NAME)
        if name in value[:i]:
            raise place.at(i).refuse(name, "a name that is not there twice")
    return tuple(value)


def age(value: Any, place: Place) -> float:
    """The maximum age of an input, in s."""
    return number(value, place, 0.01, 10, "s")


def require_ordered(
    place: Place, lower: np.ndarray, upper: np.ndarray, names: tuple[str, ...]
) -> None:
    """Refuses the first upper value that is not more than its lower one."""
    for i in np.flatnonzero(~(lower < upper)):
        raise (
            place.at("upper")
            .at(int(i))
            .refuse(float(upper[i]), f"more than lower, {lower[i]:g}, for {names[i]}")
        )


def require_distinct(place: Place, key: str, values: dict[str, str]) -> None:
    """Refuses the second entry with the same value."""
    for i, (name, value) in enumerate(values.items()):
        if value in list(values.values())[:i]:
            raise place.at(name).at(key).refuse(value, "a topic that is not there twice")


def _below(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _lines(node: yaml.Node, path: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Every key's path and line below node. Aliased content is listed once, so recursion ends."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = _below(path, str(key.value))
            yield below, key.start_mark.line + 1
            yield from _lines(value, below, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            below = _below(path, i)
            yield below, value.start_mark.line + 1
            yield from _lines(value, below, seen)


def _not_yaml(path: Path, error: yaml.YAMLError) -> Refused:
    mark = getattr(error, "problem_mark", None)
    where = str(path) if mark is None else f"{path}:{mark.line + 1}"
    parts = [getattr(error, key, None) for key in ("context", "problem")]
    says = " ".join(part for part in parts if part) or one_line(error)
    return Refused(where, f"got text that is not valid YAML, expected YAML: {one_line(says)}")


def _show(value: Any) -> str:
    if isinstance(value, str) and (" " in value or value == "nothing") and value.isprintable():
        return one_line(value)
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
