"""YAML, strictly: one document, no duplicate keys, no tags, numbers in JSON's form.

Such numbers are 3, -0.5, 1e-3. PyYAML follows YAML 1.1, where 010 is 8, 1:30 is 90, 1_0 is 10 and
`no` is false; here these are strings, which a numeric key refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

LIMIT = 1 << 19  # bytes of a file
MAX_DEPTH = 24
MAX_VALUES = 50_000  # values repeated by an alias count again
INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,99})\Z")
FLOAT = re.compile(
    r"[-+]?(?:0|[1-9][0-9]{0,99}|(?=\.[0-9]))(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,4})?\Z"
)
BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")


class StrictLoader(yaml.SafeLoader):
    """PyYAML's loader with the bounds and forms of this module."""

    peek_event: Callable[[], Any]  # PyYAML's own, which has no type annotation

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth, self._values = 0, 0
        self._sizes: dict[int, int] = {}  # id of a complete node -> number of values in it

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """One node and its content; the limits hold before anything is built."""
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            raise _error(event, f"got the tag {event.tag}, expected a plain value")
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event, parent, index)
        self._depth += 1
        before = self._values
        self._count(event, 1)
        if self._depth > MAX_DEPTH:
            raise _error(event, f"nested too deep, expected at most {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self._values - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """SafeLoader keeps the last of two equal keys, so a limit could be overridden silently."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error(key_node, f"got the key {_kind(key_node)}, expected a word")
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _error(key_node, f"the key {str(key)[:80]!r} is there twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _repeated(self, event: yaml.AliasEvent, parent: Any, index: Any) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if id(node) not in self._sizes:
            raise _error(event, f"*{event.anchor} stands within what it repeats")
        self._count(event, self._sizes[id(node)])
        return node

    def _count(self, event: yaml.Event, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise _error(event, f"got more than {MAX_VALUES} values, expected fewer")


StrictLoader.yaml_implicit_resolvers = {}  # replaces SafeLoader's
for _tag, _form, _first in (
    ("bool", BOOL, "tTfF"),
    ("float", FLOAT, "-+.0123456789"),
    ("int", INT, "-+0123456789"),
    ("null", NULL, ["~", "n", "N", ""]),
):
    StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _form, list(_first))
# The first match counts: an int also has the form of a float.
for _resolvers in StrictLoader.yaml_implicit_resolvers.values():
    _resolvers.sort(key=lambda entry: entry[0] != "tag:yaml.org,2002:int")


def _kind(node: yaml.Node) -> str:
    return "of a list" if isinstance(node, yaml.SequenceNode) else "of a mapping"


def _error(at: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)
