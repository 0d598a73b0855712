"""What a documented command may say, read from the sources alone: no ROS, no imports of the package.

Verbs and options of `vla`, arguments of launch files and programs, targets of the Makefile. `problem(words)` is a
sentence about one command, or None.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "vla_policy"
PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*|.*[<>…¦$*].*|\.\.\.")


@dataclass
class Arguments:
    """options: name -> values it may have, None: any. positional: the same, in order. kinds: of subcommands."""

    options: dict[str, "tuple[str, ...] | None"] = field(default_factory=lambda: {"--help": None})
    positional: list["tuple[str, ...] | None"] = field(default_factory=list)
    kinds: dict[str, "Arguments"] = field(default_factory=dict)


def problem(words: list[str]) -> "str | None":
    """What is wrong with a command, or None. words: as a shell splits them."""
    words = [w for w in (word.strip("[]") for word in words) if w]
    while words and (re.match(r"\w+=", words[0]) or words[0] in ("exec", "do", "$", "sudo")):
        words = words[1:]
    if words[:3] in (["ros2", "launch", PACKAGE], ["ros2", "run", PACKAGE]):
        return (_launch if words[1] == "launch" else _executable)(words[3:])
    if not words or words[0] not in PROGRAMS:
        return None
    return PROGRAMS[words[0]](words[1:])


def _vla(words: list[str]) -> "str | None":
    if not words or words[0] in ("--help", "--version") or PLACEHOLDER.fullmatch(words[0]):
        return None
    if words[0] not in verbs():
        return f"vla has no verb {words[0]!r}"
    return _against(f"vla {words[0]}", verb_arguments(words[0]), words[1:])


def _against(command: str, known: Arguments, words: list[str]) -> "str | None":
    if known.kinds and words and not words[0].startswith("-"):
        if words[0] not in known.kinds:
            return f"{command} has no {words[0]!r}, only {', '.join(known.kinds)}"
        return _against(f"{command} {words[0]}", known.kinds[words[0]], words[1:])
    given = 0
    for i, word in enumerate(words):
        if word == "--":
            return None
        if word.startswith("--"):
            name, _, value = word.partition("=")
            if name not in known.options:
                return f"{command} has no option {name}"
            following = words[i + 1] if i + 1 < len(words) else ""
            if bad := _unlisted(value or following, known.options[name]):
                return f"{command} {name} has no {bad!r}"
        elif i == 0 or not words[i - 1].startswith("--"):
            allowed = known.positional[given] if given < len(known.positional) else None
            if bad := _unlisted(word, allowed):
                return f"{command} has no {bad!r}"
            given += 1
    return None


def _unlisted(value: str, allowed: "tuple[str, ...] | None") -> "str | None":
    free = allowed is None or value in allowed or not value or PLACEHOLDER.fullmatch(value)
    return None if free else value


def _launch(words: list[str]) -> "str | None":
    if not words or PLACEHOLDER.fullmatch(words[0]):
        return None
    if not (ROOT / "launch" / words[0]).is_file():
        return f"there is no launch file {words[0]!r}"
    names = [word.partition(":=")[0] for word in words[1:] if ":=" in word]
    unknown = [name for name in names if name not in launch_arguments()]
    return f"{words[0]} has no argument {unknown[0]!r}" if unknown else None


def _executable(words: list[str]) -> "str | None":
    nodes = re.search(r"foreach\(node ([\w ]+)\)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    built = {"vla", *(f"{node}_node" for node in nodes.split())}
    return None if not words or words[0] in built else f"there is no executable {words[0]!r}"


def _make(words: list[str]) -> "str | None":
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.M))
    variables = set(re.findall(r"^(?:export )?([A-Z]+) [?:]?=", makefile, re.M))
    for word in words:
        if "=" in word:
            if word.partition("=")[0] not in variables:
                return f"the Makefile has no variable {word.partition('=')[0]}"
        elif word not in targets and not word.startswith("-") and not PLACEHOLDER.fullmatch(word):
            return f"the Makefile has no target {word!r}"
    return None


def _python(words: list[str]) -> "str | None":
    if words[:1] == ["-m"] and words[1].startswith(f"{PACKAGE}."):
        path = ROOT.joinpath(*words[1].split(".")).with_suffix(".py")
        words = words[1:]
    elif words and words[0].endswith(".py"):
        path = ROOT / words[0]
    else:
        return None
    if not path.is_file():
        return f"{words[0]} is not there"
    known = program_options(path)
    unknown = [w for w in words[1:] if w.startswith("--") and w.partition("=")[0] not in known]
    return f"{words[0]} has no option {unknown[0]}" if unknown else None


PROGRAMS = {"vla": _vla, "make": _make, "python": _python, "python3": _python}


@cache
def verbs() -> dict[str, str]:
    """Verb -> the module that runs it."""
    table = constant(f"{PACKAGE}.cli", "VERBS")
    return {k.value: v.elts[0].value for k, v in zip(table.keys, table.values, strict=True)}


@cache
def verb_arguments(verb: str) -> Arguments:
    """What `vla VERB` declares in its add_arguments."""
    found = Arguments()
    _collect(verbs()[verb], "add_arguments", found)
    if verb == "data":  # whose verbs are modules of their own
        table = constant(verbs()[verb], "VERBS")
        for name, entry in zip(table.keys, table.values, strict=True):
            found.kinds[name.value] = Arguments()
            _collect(entry.elts[0].value, "add_arguments", found.kinds[name.value])
    return found


@cache
def launch_arguments() -> tuple[str, ...]:
    """Arguments of every launch file of the package, which share one declaration."""
    for path in sorted((ROOT / PACKAGE / "ros").rglob("*.py")):
        if "DeclareLaunchArgument(" in path.read_text():
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            return tuple(key.value for key in constant(module, "ARGUMENTS").keys)
    raise ValueError("no file below vla_policy/ros declares launch arguments")


@cache
def program_options(path: Path, above: "tuple[Path, ...]" = ()) -> frozenset[str]:
    """Options that a program declares, in its file or in one that it imports from the same folder."""
    tree = ast.parse(path.read_text())
    found = {"--help"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
        elif isinstance(node, ast.ImportFrom) and node.module:
            beside = path.parent / f"{node.module.rpartition('.')[2]}.py"
            if beside.is_file() and beside not in (path, *above):
                found |= program_options(beside, (path, *above))
    return frozenset(found)


def _collect(module: str, function: str, found: Arguments) -> None:
    """Follow one function that takes a parser, and those that it hands the parser on to."""
    where, body = _definition(module, function)
    parser = body.args.args[0].arg
    owners = {parser: [found]}
    for node in _in_order(body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "attr", "") == "add_parser":
                kind = found.kinds[node.value.args[0].value] = Arguments()
                owners[node.targets[0].id] = [kind]
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            owners[node.target.id] = [o for e in node.iter.elts for o in owners[e.id]]
        elif isinstance(node, ast.Call):
            if getattr(node.func, "attr", "") == "add_argument":
                for owner in owners.get(getattr(node.func.value, "id", ""), []):
                    _declare(where, node, owner)
            elif parser in [getattr(a, "id", "") for a in node.args]:
                if isinstance(node.func, ast.Name):
                    _collect(where, node.func.id, found)
                elif isinstance(node.func, ast.Attribute) and isinstance(
                    node.func.value, ast.Name
                ):
                    _collect(_module_named(where, node.func.value.id), node.func.attr, found)


def _module_named(module: str, name: str) -> str:
    """The module that a module calls by a name of its own. Raises KeyError."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return f"{_absolute(module, node)}.{alias.name}"
    raise KeyError(f"{module}.{name}")


def _declare(module: str, call: ast.Call, owner: Arguments) -> None:
    given = {k.arg: k.value for k in call.keywords}
    values = words_of(module, given["choices"]) if "choices" in given else None
    for name in (a.value for a in call.args if isinstance(a, ast.Constant)):
        if name.startswith("-"):
            owner.options[name] = values
        else:
            owner.positional.append(values)


def words_of(module: str, node: ast.AST) -> "tuple[str, ...] | None":
    """The texts in a literal, or in a constant that it names; None where that needs more than reading."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("tuple", "sorted", "list"):
        return words_of(module, node.args[0])
    if isinstance(node, ast.Constant):
        return (node.value,)
    if isinstance(node, ast.Name):
        try:
            return words_of(*_definition(module, node.id))
        except KeyError:
            return None
    if isinstance(node, (ast.Dict, ast.Tuple, ast.List)):
        parts = []
        for part in node.keys if isinstance(node, ast.Dict) else node.elts:
            inner = part.value if isinstance(part, ast.Starred) else part
            of_part = words_of(module, inner)
            if of_part is None:
                return None
            parts += of_part
        return tuple(parts)
    return None


def constant(module: str, name: str) -> ast.expr:
    """The expression that a constant of a module is given."""
    return _definition(module, name)[1]


def _definition(module: str, name: str) -> tuple[str, ast.AST]:
    """Where a name comes from and what it is, through imports within the package. Raises KeyError."""
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == [name]:
            return module, node.value
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            return module, node.value
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _definition(_absolute(module, node), alias.name)
    raise KeyError(f"{module}.{name}")


def names_in(module: str) -> set[str]:
    """What `from module import ...` may name; raises FileNotFoundError if there is no such module."""
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {a.asname or a.name for a in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    path = _path(module)
    if path.name == "__init__.py":
        found |= {p.stem for p in path.parent.iterdir()}
    return found


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text())


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module
    parts = module.split(".") if _path(module).name == "__init__.py" else module.split(".")[:-1]
    return ".".join(
        [*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])]
    )


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)
