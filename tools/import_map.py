"""The map of the package: which room imports which, from the ground up; exit code 1 for an arrow up or a circle.

    python tools/import_map.py            # rooms on their floors, with what each imports
    python tools/import_map.py --modules  # every module as well

Read from the source with `ast`: imports inside functions count, those for type checkers alone do too.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "vla_policy"
# Rooms from the ground up. A room may import those of lower floors, and those before it on its own floor.
FLOORS = (
    ("parsing", "types", "timing", "paths"),
    ("geometry", "embodiment", "models"),
    ("checkpoint", "execution"),
    ("families", "safety"),
    ("formats", "runtime", "teleop"),
    ("check", "data", "web", "remote", "policy", "planners"),
    ("sim", "train"),
    ("evaluate",),
    ("ros",),
    ("commands",),
    ("cli",),
)
ORDER = {room: at for at, room in enumerate(room for floor in FLOORS for room in floor)}


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file of every module below package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """A file as Python reads it."""
    return ast.parse(path.read_text())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's tree."""
    return tuple(ast.walk(tree(path)))


def imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that one module names in an import."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                if f"{base}.{alias.name}" in known:
                    yield f"{base}.{alias.name}"
                elif base in known and base != PACKAGE:
                    yield base


def room_of(name: str) -> str:
    """The first part below the package; the package itself has no room."""
    return name.split(".")[1] if "." in name else ""


def arrows_up(graph: Mapping[str, set[str]]) -> list[str]:
    """Sentences for imports of a room that stands above."""
    return [
        f"{name} imports {other}, which stands above it"
        for name, others in graph.items()
        for other in sorted(others)
        if room_of(name) and room_of(other) and ORDER[room_of(other)] > ORDER[room_of(name)]
    ]


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected parts of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(part) > 1:
                found.append(sorted(part))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def import_graph(package: Path) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    known = modules(package)
    return {name: set(imports(name, path, known)) - {name} for name, path in known.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", action="store_true", help="every module as well")
    args = parser.parse_args()
    graph = import_graph(ROOT / PACKAGE)
    unknown = sorted({room_of(name) for name in graph} - set(ORDER) - {""})
    for height, floor in enumerate(FLOORS):
        for room in floor:
            members = sorted(name for name in graph if room_of(name) == room)
            if not members:
                continue
            below = {room_of(o) for name in members for o in graph[name]} - {room, ""}
            print(
                f"{height:2} {room:12} {len(members):3} modules  imports {', '.join(sorted(below, key=lambda r: ORDER.get(r, 99))) or 'nothing'}"
            )
            if args.modules:
                for name in members:
                    print(f"      {name:60} {', '.join(sorted(graph[name]))}")
    problems = [f"{room}: has no floor in FLOORS" for room in unknown] + arrows_up(graph)
    problems += [f"circle: {' -> '.join(part)}" for part in circles(graph)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(graph)} modules, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
