"""A frozen dataclass from a section of a configuration file: its annotations define the keys.

str, bool, int, float, Literal["a", "b"], another such dataclass, X | None, tuple[X, ...] and
Mapping[str, X]. The dataclass checks ranges itself: its __post_init__ raises a ValueError that
starts with the name of a field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType, NoneType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from vla_policy.parsing.fields import MANY, Place, Refused, choice, mapping, named

Record = TypeVar("Record")


def read_record(
    cls: type[Record], value: Any, place: Place, already: Mapping[str, Any] = MappingProxyType({})
) -> Record:
    """value, a mapping, as cls. already: values of fields that were parsed before.

    Raises Refused: file and line, key, what was got, what was expected.
    """
    known = fields(cast(Any, cls))
    required = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING]
    optional = [f.name for f in known if f.name not in required]
    given = mapping(value, place, required, optional)
    hints = get_type_hints(cls)
    values = {
        name: already[name] if name in already else _value(hints[name], v, place.at(name))
        for name, v in given.items()
    }
    try:
        return cls(**values)
    except Refused:
        raise
    except ValueError as error:
        name, colon, says = str(error).partition(":")
        at = place.at(name) if colon and name in hints else place
        raise Refused(at.where, f"{at.path or 'top level'}:{says if colon else f' {error}'}") from error  # fmt: skip


def plain(value: Any) -> Any:
    """A record as plain YAML or JSON data; keys in the order of the fields."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    return value


def _value(hint: Any, value: Any, place: Place) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return read_record(cast(type, hint), value, place)
    if origin is Literal:
        return choice(value, place, arguments)
    if origin is tuple:
        if not isinstance(value, list) or len(value) > MANY:
            raise place.refuse(value, f"a list of at most {MANY}")
        return tuple(_value(arguments[0], entry, place.at(i)) for i, entry in enumerate(value))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        entries = () if value == {} else named(value, place, "a name").items()
        return MappingProxyType({k: _value(arguments[1], v, place.at(k)) for k, v in entries})
    if NoneType in arguments:
        (inner,) = (a for a in arguments if a is not NoneType)
        return None if value is None else _value(inner, value, place)
    return _plain(hint, value, place)


def _plain(hint: type, value: Any, place: Place) -> Any:
    if hint is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    fits = type(value) is hint
    if fits and hint is float:
        fits = math.isfinite(value)
    if fits and hint is str:
        fits = bool(value.strip()) and value.isprintable()
    if not fits:
        raise place.refuse(value, WORDS[hint])
    return value


WORDS = {
    str: "words on one line",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
}
