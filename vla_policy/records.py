"""Frozen dataclasses to plain JSON data and strictly back."""

from __future__ import annotations

from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


def to_dict(record: Any) -> dict[str, Any]:
    """Plain JSON data of a dataclass."""
    return asdict(record)


def from_dict(cls: type, data: Any, where: str) -> Any:
    """Inverse of to_dict. where: for messages. Raises ValueError naming a missing, unknown or ill-typed key."""
    if not isinstance(data, dict):
        raise ValueError(f"{where}: got {type(data).__name__}, expected a mapping")
    names = [f.name for f in fields(cls)]
    if missing := [f.name for f in fields(cls) if f.default is MISSING and f.name not in data]:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    if unknown := [n for n in data if n not in names]:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(names)}")
    hints = get_type_hints(cls)
    return cls(**{n: _value(hints[n], data[n], f"{where}.{n}") for n in names if n in data})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_dict(hint, value, where)
    if hint in (int, str, float, bool):
        if hint is float and type(value) is int:
            value = float(value)
        if type(value) is not hint:
            raise ValueError(f"{where}: got {value!r}, expected {hint.__name__}")
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
    raise ValueError(f"{where}: got {value!r}; " + "; ".join(errors))


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: got {value!r}, expected a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise ValueError(f"{where}: got {len(value)} values, expected {len(kinds)}")
    return tuple(_value(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))  # fmt: skip
