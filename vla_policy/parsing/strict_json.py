"""JSON, strictly: no duplicate keys, limited depth, no number that fills a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vla_policy.parsing.files import decode, one_line

MAX_DEPTH = 40
MAX_DIGITS = 100


def parse_json(data: bytes, where: Path | str) -> Any:
    """The value in UTF-8 JSON text. Raises ValueError that begins with where."""
    try:
        value = json.loads(decode(data, where), object_pairs_hook=_once, parse_int=_whole)
    except RecursionError as error:
        raise _too_deep(where) from error
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"{where}: not valid JSON: {error.msg} at {at}") from error
    except _Strange as error:
        raise ValueError(f"{where}: not valid JSON: {error}") from error
    _require_shallow(value, where)
    return value


def number_list(value: Any, where: str) -> list[float]:
    """A list of JSON numbers. Raises ValueError: '0.5', null and true are none."""
    if isinstance(value, list):
        for i, number in enumerate(value):
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(
                    f"{where}[{i}]: got {one_line(repr(number), 80)}, expected a number"
                )
            if isinstance(number, int) and abs(number) > 2**63:
                raise ValueError(f"{where}[{i}]: got a number of more than 64 bits")
        return [float(number) for number in value]
    raise ValueError(f"{where}: got {one_line(repr(value), 80)}, expected a list of numbers")


def text_list(value: Any, where: str) -> tuple[str, ...]:
    """A list of distinct strings. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: got {one_line(repr(value), 80)}, expected a list of texts")
    if len(set(value)) < len(value):
        raise ValueError(f"{where}: got a text twice, expected different ones")
    return tuple(value)


class _Strange(Exception):
    """Valid JSON that is refused; not a ValueError, which json treats as an invalid number."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for twice, _ in pairs:
            if twice in seen:
                break
            seen.add(twice)
        raise _Strange(f"the key {one_line(repr(twice), 80)} is there twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Strange(f"got a number of {len(digits)} digits, expected at most {MAX_DIGITS}")
    return int(digits)


def _require_shallow(value: Any, where: Path | str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep(where)
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = [item for item in below if isinstance(item, dict | list)]


def _too_deep(where: Path | str) -> ValueError:
    return ValueError(f"{where}: not valid JSON: nested too deep, expected at most {MAX_DEPTH} levels")  # fmt: skip
