"""Python objects as Markdown tables, for the pages that tools/site_reference.py makes."""

import argparse
import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator

from site_messages import text


def key_paths(value: typing.Any, path: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(path, example) of every key; what a file names itself (cameras, groups, tools) is <name>."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            yield from key_paths(entry, f"{path}[]", names)
    elif isinstance(value, dict):
        for key, inner in value.items():
            own = path == "cameras" or key in names or "/" in key or key.endswith(".ee")
            step = "<name>" if own else key
            yield from key_paths(inner, f"{path}.{step}" if path else step, names)
    else:
        shown = str(value)
        yield path, shown if len(shown) <= 60 else f"{shown[:57]}..."


def arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """One table of a parser's arguments, then those of its subcommands."""
    rows, kinds = [], {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            kinds |= action.choices
        elif "--help" not in action.option_strings and action.help != argparse.SUPPRESS:
            rows.append(_argument(action))
    if rows:
        yield from ("", "| argument | default | |", "|---|---|---|", *rows)
    for name, inner in kinds.items():
        yield from ("", f"**`{parser.prog} {name}`**", *arguments(inner))


def _argument(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else (action.dest or "").upper())
    if action.choices and not action.metavar:
        value = "{" + ",".join(str(c) for c in action.choices) + "}"
    name = ", ".join(f"{o} {value}".strip() for o in action.option_strings) or str(
        action.metavar or action.dest
    )
    given = action.default not in (None, False, argparse.SUPPRESS, "") and action.nargs != 0
    default = f"`{action.default}`" if given and action.default != [] else ""
    words = (
        (action.help or "") % {**vars(action), "prog": ""}
        if "%(" in (action.help or "")
        else action.help or ""
    )
    return f"| `{name.replace('|', chr(92) + '|')}` | {default} | {text(words)} |"


def interface(section: str) -> Iterator[str]:
    """Leading comments as prose, then one row for each field or constant."""
    rows = []
    for line in section.strip().splitlines():
        code, _, comment = line.partition("#")
        if not code.strip():
            if comment and not rows:
                yield text(comment.strip())
        else:
            kind, _, name = code.strip().partition(" ")
            rows.append(f"| `{kind}` | `{name.strip()}` | {text(comment.strip())} |")
    yield from ("", "| type | name | |", "|---|---|---|", *rows) if rows else ("", "Nothing.")


def dataclass_table(kind: type) -> Iterator[str]:
    """Heading, docstring and a table of the fields."""
    yield from (f"## {kind.__name__}", "")
    for paragraph in inspect.getdoc(kind).split("\n\n"):
        yield from (text(paragraph), "")
    yield from ("| key | type | default |", "|---|---|---|")
    for field in dataclasses.fields(kind):
        yield f"| `{field.name}` | {text(_type(field.type))} | {_default(field)} |"


def _type(hint: typing.Any) -> str:
    name = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
    if not isinstance(hint, str) and typing.get_args(hint):
        name = str(hint)
    return "`" + re.sub(r"(\w+\.)+(?=\w)", "", name) + "`"


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return (
            f"`{field.default!r}`" if not dataclasses.is_dataclass(field.default) else "as there"
        )
    return "required" if field.default_factory is dataclasses.MISSING else "empty, or as there"


def dataclasses_in(hint: typing.Any) -> Iterator[type]:
    """The dataclasses that a type hint names."""
    if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from dataclasses_in(part)
