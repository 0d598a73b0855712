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
from site_tables import arguments, dataclass_table, dataclasses_in, interface, key_paths

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
                lines += ["", *([f"**{title}**", ""] if title else []), *interface(section)]
    return "\n".join(lines) + "\n"


def robot_file() -> str:
    """Keys of a robot file, what they are read into, spaces and limits."""
    import yaml

    from vla_policy.embodiment import description, joint_units, spaces

    files = [yaml.safe_load(p.read_text()) for p in sorted(ROBOTS.glob("*.yaml"))]
    groups = frozenset(action["group"] for robot in files for action in robot["actions"])
    keys = [dict(key_paths(robot, "", groups)) for robot in files]
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
        lines += ["", *dataclass_table(kind)]
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
        lines += ["", *dataclass_table(kind)]
        todo += [t for hint in typing.get_type_hints(kind).values() for t in dataclasses_in(hint)]
    return "\n".join(lines) + "\n"


PAGES = {
    "verbs.md": verbs,
    "parameters.md": parameters,
    "interfaces.md": interfaces,
    "robot_file.md": robot_file,
    "run_file.md": run_file,
    "messages.md": site_messages.page,
}


def _verb(name: str, module: str) -> Iterator[str]:
    verb = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=name)
    verb.add_arguments(parser)
    yield from arguments(parser)


def _sentence(words: str) -> str:
    return text(words[:1].upper() + words[1:]) + "."


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


def _dataclasses(*modules: typing.Any) -> Iterator[type]:
    for module in modules:
        for kind in vars(module).values():
            if (
                inspect.isclass(kind)
                and dataclasses.is_dataclass(kind)
                and kind.__module__ == module.__name__
            ):
                yield kind


if __name__ == "__main__":
    for name, page in pages().items():
        sys.stdout.write(f"<!-- {name} -->\n{page}\n")
