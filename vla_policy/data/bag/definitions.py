"""Definitions of message types: the text for a bag, its hash, and a store that decodes the type.

Texts come from the installed .msg files, as in ROS itself, else from those in rosbags; our own
messages are read from this package's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from vla_policy.parsing.files import MIB, one_line, read_text
from vla_policy.paths import definition_file

RULE = "=" * 80
TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*/msg/[A-Za-z][A-Za-z0-9_]*")
OWN = tuple(
    f"vla_policy/msg/{name}"
    for name in (
        "ActionChunk",
        "ControlCommand",
        "ControlStatus",
        "InstructionOutcome",
        "SimEvent",
    )
)
_FIELD = re.compile(r"^\s*([A-Za-z0-9_/]+)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]", re.MULTILINE)
_PRIMITIVES = frozenset(
    "bool byte char float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 string wstring".split()
)


@dataclass(frozen=True, slots=True)
class Definition:
    """text: of the type and of all types in it, in the format ros2msg. hash: RIHS01 of the type.

    Both '' for an unknown type.
    """

    text: str
    hash: str


@lru_cache(maxsize=512)
def definition_of(type_name: str) -> Definition:
    """A bag's definition of a message type. Raises ValueError for an invalid name."""
    if not TYPE_NAME.fullmatch(type_name):
        raise ValueError(f"message type: got {type_name!r}, expected the form package/msg/Name")
    text = _text(type_name)
    store = type_store()
    try:
        if text is None:
            text, _ = store.generate_msgdef(type_name, ros_version=2)
        else:
            _learn(store, type_name, text)
        return Definition(text, store.hash_rihs01(type_name))
    except (TypesysError, KeyError):
        return Definition(text or "", "")


def type_store(texts: Mapping[str, str] | None = None) -> Any:
    """A rosbags type store with the standard types and our own messages; do not change it.

    texts: type -> definition in a bag; used for our own messages, which may have differed when the
    bag was recorded, and for types that are not standard.
    """
    standard = _standard()
    other = {n: t for n, t in (texts or {}).items() if t and not _is_known(standard, n, t)}
    if not other:
        return standard
    store = get_typestore(Stores.LATEST)
    for name, text in other.items():
        if name not in store.fielddefs:
            _learn(store, name, text)
    _learn_own(store)
    return store


@lru_cache(maxsize=1)
def _standard() -> Any:
    """One shared store: making one takes a sixth of a second."""
    store = get_typestore(Stores.LATEST)
    _learn_own(store)
    return store


def _learn_own(store: Any) -> None:
    """Add them from their own files: the types in them are standard, known also without ROS."""
    for name in OWN:
        if name not in store.fielddefs and (file := definition_file(name)) is not None:
            _learn(store, name, read_text(file, MIB))


def _is_known(store: Any, type_name: str, text: str) -> bool:
    """Whether the store has the type with the same fields; standard ones are not compared."""
    if type_name not in OWN:
        return type_name in store.fielddefs
    try:
        return bool(get_types_from_msg(text, type_name)[type_name] == store.fielddefs[type_name])
    except (TypesysError, KeyError):
        return False


def _learn(store: Any, type_name: str, text: str) -> None:
    """Add a type and the types in it. Raises TypesysError for an invalid text."""
    try:
        types = get_types_from_msg(text, type_name)
        store.register({name: t for name, t in types.items() if name not in store.fielddefs})
    except TypesysError as error:
        raise TypesysError(f"{type_name}: not a message definition: {one_line(error)}") from error


def _text(type_name: str) -> str | None:
    """The definition with all types in it, joined as by rosbag2; None if a file is missing."""
    parts: dict[str, str] = {}
    pending = [type_name]
    while pending:
        name = pending.pop(0)
        if name in parts:
            continue
        file = definition_file(name)
        if file is None:
            return None
        parts[name] = read_text(file, MIB)
        pending += sorted(_used(name, parts[name]))
    texts = list(parts.items())
    joined = [texts[0][1]]
    joined += [f"\n{RULE}\nMSG: {name.replace('/msg/', '/')}\n{text}" for name, text in texts[1:]]
    return "".join(joined)


def _used(type_name: str, text: str) -> set[str]:
    """Full names of the fields' types."""
    package = type_name.partition("/")[0]
    bare = "\n".join(line.partition("#")[0] for line in text.splitlines())
    found = set()
    for name in _FIELD.findall(bare):
        if name in _PRIMITIVES:
            continue
        parts = name.split("/")
        found.add(f"{package}/msg/{name}" if len(parts) == 1 else f"{parts[0]}/msg/{parts[-1]}")
    return found
