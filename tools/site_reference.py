"""The reference pages of the site, made of the sources while it is built: nothing here is written twice.

Verbs and flags come from the argument parsers, parameters from the nodes' declarations, messages from msg/, srv/ and action/,
keys of robot files and run files from the dataclasses that they are read into, messages to people from tools/site_messages.py.
Importing this file needs the standard library alone; making the pages needs what `make setup` installs.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import site_messages
from site_messages import text

ROOT = Path(__file__).resolve().parent.parent
ROBOTS = ROOT / "config" / "embodiments"
READERS = ("follow_params", "read_params")
NODES = ROOT / "vla_policy" / "ros" / "nodes"


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown, of every page in PAGES."""
    return {f"reference/{name}": make() for name, make in PAGES.items()}


def verbs() -> str:
    """Every verb of `vla` with its arguments."""
    from vla_policy.cli import VERBS
    from vla_policy.commands.data import VERBS as DATA

    lines = [
        "# Verbs of `vla`",
        "",
        "From the argument parsers. `vla <verb> --help` prints the same.",
    ]
    for verb, (module, does) in VERBS.items():
        lines += ["", f"## `vla {verb}`", "", _sentence(does), *_verb(f"vla {verb}", module)]
        if verb == "data":
            for inner, (module, does) in DATA.items():
                name = f"vla data {inner}"
                lines += ["", f"### `{name}`", "", _sentence(does), *_verb(name, module)]
    return "\n".join(lines) + "\n"


def parameters() -> str:
    """ROS parameters of each node: name, default, range, when it may change."""
    from vla_policy.ros.process.params import WHEN, specs_of

    lines = [
        "# ROS parameters",
        "",
        "From the nodes' declarations. A value outside its range is refused with a reason.",
    ]
    for node, kind in _parameter_classes():
        lines += [
            "",
            f"## `{node}`",
            "",
            "| parameter | default | what it is | range | |",
            "|---|---|---|---|---|",
        ]
        specs = specs_of(kind)
        for field in dataclasses.fields(kind):
            spec = specs[field.name]
            bounds = ", ".join(f"`{c}`" for c in spec.choices)
            if spec.low is not None or spec.high is not None:
                bounds = f"{_bound(spec.low)} to {_bound(spec.high)}"
            cells = (
                f"`{field.name}`",
                f"`{field.default!r}`",
                text(spec.description),
                bounds,
                WHEN[spec.changes],
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def interfaces() -> str:
    """Messages, services and actions with the comments of their files."""
    lines = ["# Messages, services, actions", "", "From `msg/`, `srv/` and `action/`."]
    for kind, parts in (
        ("msg", [""]),
        ("srv", ["Request", "Response"]),
        ("action", ["Goal", "Result", "Feedback"]),
    ):
        for path in sorted((ROOT / kind).iterdir()):
            lines += ["", f"## `vla_policy/{kind}/{path.stem}`"]
            for title, section in zip(
                parts, re.split(r"^---$", path.read_text(), flags=re.M), strict=True
            ):
                lines += ["", *([f"**{title}**", ""] if title else []), *_interface(section)]
    return "\n".join(lines) + "\n"


def robot_file() -> str:
    """Keys of a robot file, what they are read into, spaces and limits."""
    import yaml

    from vla_policy.embodiment import description, joint_units, spaces

    files = [yaml.safe_load(p.read_text()) for p in sorted(ROBOTS.glob("*.yaml"))]
    groups = frozenset(action["group"] for robot in files for action in robot["actions"])
    keys = [dict(_key_paths(robot, "", groups)) for robot in files]
    lines = [
        "# Keys of a robot file",
        "",
        "Every key of the shipped files (`config/embodiments/*.yaml`), with an example and how many of the files have it. "
        "No shipped file has `model`, `cameras.<name>.view`, `limits.keep_out` and `joints.wire`, which may be there too. Nothing has a default; an unknown key is refused with its nearest neighbour. "
        "[Your own robot](../your_own_robot.md) goes through one.",
        "",
        "| key | example | files |",
        "|---|---|---|",
    ]
    for key in sorted({key for file in keys for key in file}):
        have = [file[key] for file in keys if key in file]
        lines.append(f"| `{key}` | {text(f'`{have[0]}`')} | {len(have)} |")
    lines += ["", "What they are read into:"]
    for kind in _dataclasses(description, joint_units):
        lines += ["", *_dataclass(kind)]
    lines += [
        "",
        "## Spaces of an action group",
        "",
        "| space | units | references | further keys | limits | outputs |",
        "|---|---|---|---|---|---|",
    ]
    for name, space in spaces.SPACES.items():
        columns = (space.units, space.references, space.keys, space.limits, space.outputs)
        lines.append(
            f"| `{name}` | " + " | ".join(", ".join(f"`{v}`" for v in c) for c in columns) + " |"
        )
    lines += ["", "## Ranges of limits", "", "| key | from | to | unit |", "|---|---|---|---|"]
    for name, (low, high, unit) in spaces.LIMIT_RANGES.items():
        lines.append(f"| `{name}` | {low:g} | {high:g} | {unit} |")
    return "\n".join(lines) + "\n"


def run_file() -> str:
    """Keys of a run file, section by section."""
    from vla_policy.train.run import Run

    lines = [
        "# Keys of a run file",
        "",
        "`config/runs/*.yaml`, for [`vla train`](../training.md). A key without a default is required.",
    ]
    done: set[type] = set()
    todo: list[type] = [Run]
    while todo:
        kind = todo.pop(0)
        if kind in done:
            continue
        done.add(kind)
        lines += ["", *_dataclass(kind)]
        todo += [t for hint in typing.get_type_hints(kind).values() for t in _inner(hint)]
    return "\n".join(lines) + "\n"


PAGES = {
    "verbs.md": verbs,
    "parameters.md": parameters,
    "interfaces.md": interfaces,
    "robot_file.md": robot_file,
    "run_file.md": run_file,
    "messages.md": site_messages.page,
}


def _key_paths(value: typing.Any, path: str, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(path, example) of every key; what a file names itself (cameras, groups, tools) is <name>."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        for entry in value:
            yield from _key_paths(entry, f"{path}[]", names)
    elif isinstance(value, dict):
        for key, inner in value.items():
            own = path == "cameras" or key in names or "/" in key or key.endswith(".ee")
            step = "<name>" if own else key
            yield from _key_paths(inner, f"{path}.{step}" if path else step, names)
    else:
        shown = str(value)
        yield path, shown if len(shown) <= 60 else f"{shown[:57]}..."


def _sentence(words: str) -> str:
    return text(words[:1].upper() + words[1:]) + "."


def _verb(name: str, module: str) -> Iterator[str]:
    verb = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=name)
    verb.add_arguments(parser)
    yield from _arguments(parser)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    rows, kinds = [], {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            kinds |= action.choices
        elif "--help" not in action.option_strings and action.help != argparse.SUPPRESS:
            rows.append(_argument(action))
    if rows:
        yield from ("", "| argument | default | |", "|---|---|---|", *rows)
    for name, inner in kinds.items():
        yield from ("", f"**`{parser.prog} {name}`**", *_arguments(inner))


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


def _parameter_classes() -> Iterator[tuple[str, type]]:
    """(node, dataclass of its parameters), as the nodes read them."""
    for path in sorted(NODES.glob("*_node.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in READERS:
                module = importlib.import_module(f"vla_policy.ros.nodes.{path.stem}")
                yield path.stem, getattr(module, call.args[1].id)
                break


def _bound(value: "float | None") -> str:
    return "any" if value is None else f"{value:g}"


def _interface(section: str) -> Iterator[str]:
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


def _dataclasses(*modules: typing.Any) -> Iterator[type]:
    for module in modules:
        for kind in vars(module).values():
            if (
                inspect.isclass(kind)
                and dataclasses.is_dataclass(kind)
                and kind.__module__ == module.__name__
            ):
                yield kind


def _dataclass(kind: type) -> Iterator[str]:
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


def _inner(hint: typing.Any) -> Iterator[type]:
    if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _inner(part)


if __name__ == "__main__":
    for name, page in pages().items():
        sys.stdout.write(f"<!-- {name} -->\n{page}\n")
