"""Frozen dataclasses to plain JSON data, and strictly back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from vla_policy.parsing.files import one_line


def to_dict(record: Any) -> dict[str, Any]:
    """Plain JSON data of a dataclass."""
    return asdict(record)


def from_dict(cls: type, data: Any, where: str) -> Any:
    """Inverse of to_dict.

    where: for messages. Raises ValueError naming a missing or invalid key.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where}: got {_show(data)}, expected a mapping")
    names = [f.name for f in fields(cls)]
    if missing := [f.name for f in fields(cls) if f.default is MISSING and f.name not in data]:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    if unknown := [n for n in data if n not in names]:
        raise ValueError(
            f"{where}: unknown key {one_line(', '.join(unknown), 80)}; known: {', '.join(names)}"
        )
    hints = get_type_hints(cls)
    values = {n: _value(hints[n], data[n], f"{where}.{n}") for n in names if n in data}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error


def require_sizes(record: Any, ends: Mapping[str, tuple[float, float]]) -> None:
    """Raises ValueError for the first field of record outside its ends."""
    for name, (low, high) in ends.items():
        value = getattr(record, name)
        if not low <= value <= high:
            raise ValueError(f"{name}: got {_show(value)}, expected {low:g} to {high:g}")


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return from_dict(hint, value, where)
    if hint in (int, str, float, bool):
        if hint is float and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if type(value) is not hint:
            raise ValueError(f"{where}: got {_show(value)}, expected {hint.__name__}")
        if hint is float and not math.isfinite(value):
            raise ValueError(f"{where}: got {value}, expected a finite number")
        return value
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, where)
    options = get_args(hint)
    if value is None and NoneType in options:
        return None
    errors = []
    for option in options:
        if option is not NoneType:
            try:
                return _value(option, value, where)
            except ValueError as error:
                errors.append(str(error))
    if len(errors) == 1:
        raise ValueError(errors[0])
    raise ValueError(f"{where}: got {_show(value)}; " + "; ".join(errors))


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: got {_show(value)}, expected a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise ValueError(f"{where}: got {len(value)} values, expected {len(kinds)}")
    return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))  # fmt: skip


def _show(value: Any) -> str:
    return one_line(repr(value), 80)
