"""Every message that the software has for people, read from its sources: no ROS, no imports of the package.

Reasons with codes, findings of the checks, notes of the doctor, verdicts on takes, and the sentences of errors. A message is a
template: `…` stands where a value is put in. `page()` is the list of them all, each with the heading of docs/troubleshooting.md
that it belongs to; test/test_troubleshooting.py holds that page against what is found here.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vla_policy"
GUIDE = ROOT / "docs" / "troubleshooting.md"
HOLE = "…"
CODE = re.compile(r"(`[^`]*`)")
MANY = 12  # templates of one message
# Where in docs/troubleshooting.md the messages of a file are explained; the longest beginning that fits counts.
AREAS = {
    "__init__": "installation",
    "check/": "robot-files-and-checkpoints",
    "check/doctor/": "installation",
    "check/streams": "cameras-and-topics",
    "check/topic": "cameras-and-topics",
    "checkpoint/": "robot-files-and-checkpoints",
    "cli": "installation",
    "commands/": "installation",
    "commands/data": "recording-and-data",
    "commands/record": "recording-and-data",
    "commands/serve": "serving",
    "commands/train": "training",
    "data/": "recording-and-data",
    "embodiment/": "robot-files-and-checkpoints",
    "evaluate/": "simulation-and-evaluation",
    "execution/": "motion",
    "families/": "the-policy",
    "formats/": "robot-files-and-checkpoints",
    "geometry/": "motion",
    "models/": "the-policy",
    "parsing/": "robot-files-and-checkpoints",
    "paths": "installation",
    "policy": "the-policy",
    "remote/": "serving",
    "ros/": "motion",
    "ros/bringup/": "installation",
    "ros/inputs/": "cameras-and-topics",
    "ros/messages/": "cameras-and-topics",
    "ros/nodes/expert": "simulation-and-evaluation",
    "ros/nodes/mock": "simulation-and-evaluation",
    "ros/nodes/policy": "the-policy",
    "ros/nodes/recorder": "recording-and-data",
    "ros/nodes/sim": "simulation-and-evaluation",
    "ros/process/": "installation",
    "ros/simulation/": "simulation-and-evaluation",
    "runtime/": "motion",
    "runtime/inference": "the-policy",
    "runtime/observation": "cameras-and-topics",
    "safety/": "motion",
    "sim/": "simulation-and-evaluation",
    "teleop/": "teleoperation",
    "timing": "motion",
    "train/": "training",
    "types": "motion",
    "web/": "motion",
}
FINDINGS = "vla_policy.embodiment.findings"
DATA_FINDINGS = "vla_policy.data.checks.finding"
ERRORS = re.compile(r"[A-Z]\w*(Error|Refused|Unavailable|NodeEnds|NotFinite|DiskFull)")


@dataclass(frozen=True)
class Message:
    """kind: reason, finding, data, note or error. codes: of a reason or a data finding. says: its templates.

    change: what to do, where the message itself says it.
    """

    kind: str
    codes: tuple[str, ...]
    says: tuple[str, ...]
    change: tuple[str, ...]
    where: str

    @property
    def area(self) -> str:
        """The anchor in docs/troubleshooting.md."""
        return area(self.where)


def area(where: str) -> str:
    """The anchor for a file, a path below vla_policy/. Raises ValueError for one that has none."""
    fits = [start for start in AREAS if where.startswith(start)]
    if not fits:
        raise ValueError(
            f"{where}: no heading of docs/troubleshooting.md in AREAS of tools/site_messages.py"
        )
    return AREAS[max(fits, key=len)]


def collect(
    kinds: "frozenset[str]" = frozenset(("reason", "finding", "data", "note", "error")),
) -> list[Message]:
    """All messages of some kinds, in order of files."""
    needed = {
        "reason": "Reason(",
        "finding": FINDINGS,
        "data": "checks.finding",
        "note": "Note(",
        "error": "raise ",
    }
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text()
        if any(needed[kind] in source for kind in kinds):
            where = path.relative_to(PACKAGE).as_posix()
            found += [m for m in messages_of(source, where) if m.kind in kinds]
    return found


def messages_of(source: str, where: str) -> list[Message]:
    """The messages of one module, errors and calls in the order of ast.walk."""
    return list(_Reader(ast.parse(source), where).messages())


def text(words: str) -> str:
    """Words as Markdown on one line: what would be markup outside of `code` is escaped."""
    parts = CODE.split(" ".join(words.split()))
    escaped = [p if p.startswith("`") else re.sub(r"([*_\[\]<>])", r"\\\1", p) for p in parts]
    return "".join(escaped).replace("|", "\\|")


def page() -> str:
    """The list of all messages, as Markdown, by heading of the guide and by file."""
    lines = ["# Everything that is said", "", "Each message of the software, read from its sources; `…` stands for a value. "
             "The heading leads to what to do. Use the search of this site, or of the browser."]  # fmt: skip
    by_area: dict[str, list[Message]] = {}
    for message in collect():
        by_area.setdefault(message.area, []).append(message)
    for anchor in dict.fromkeys(AREAS.values()):
        title = anchor.replace("-", " ").capitalize()
        lines += [
            "",
            f"## {title}",
            "",
            f"[What to do](../troubleshooting.md#{anchor})",
            "",
            "| code | message | it says what to do |",
            "|---|---|---|",
        ]
        rows = {
            _row(m, says)
            for m in by_area.get(anchor, ())
            for says in m.says or ("",)
            if says.strip(f" {HOLE}") or m.codes
        }
        lines += sorted(rows)
    return "\n".join(lines) + "\n"


def _row(message: Message, says: str) -> str:
    codes = ", ".join(f"`{c}`" for c in message.codes)
    return f"| {codes} | {text(says)} | {text(' / '.join(message.change))} |"


class _Reader:
    """One module: its messages, with names and helper functions of the module followed."""

    def __init__(self, tree: ast.Module, where: str) -> None:
        self._tree, self._where = tree, where
        self._functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        self._scope: dict[int, ast.FunctionDef] = {}
        for function in self._functions.values():  # a nested one comes after that around it
            self._scope |= dict.fromkeys(map(id, ast.walk(function)), function)
        self._assigned: dict[tuple[str, ast.FunctionDef | None], list[ast.expr]] = {}
        self._imported = {
            alias.asname or alias.name: node.module or ""
            for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
        }  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    at = getattr(target, "id", ""), self._scope.get(id(node))
                    self._assigned.setdefault(at, []).append(node.value)

    def messages(self) -> Iterator[Message]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = getattr(node.exc.func, "id", "") or getattr(node.exc.func, "attr", "")
                if ERRORS.fullmatch(name) and node.exc.args:
                    says = [t for argument in node.exc.args for t in self._texts(argument)]
                    yield self._message("error", (), says, ())
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from self._call(node.func.id, node)

    def _call(self, name: str, call: ast.Call) -> Iterator[Message]:
        given = [*call.args, *(k.value for k in call.keywords if k.arg in ("cure", "change"))]
        if name == "Reason" and len(given) >= 2:
            yield self._message("reason", self._texts(given[0]), self._texts(given[1]), ())
        elif name == "Note" and len(given) == 3:
            yield self._message("note", (), self._texts(given[1]), self._texts(given[2]))
        elif (
            name in ("fault", "doubt")
            and self._imported.get(name) == DATA_FINDINGS
            and len(given) >= 3
        ):
            yield self._message("data", *(self._texts(argument) for argument in given[:3]))
        elif (
            name in ("error", "warning")
            and self._imported.get(name) == FINDINGS
            and len(given) == 3
        ):
            yield self._message("finding", (), self._texts(given[1]), self._texts(given[2]))

    def _message(
        self, kind: str, codes: "list[str] | tuple", says: "list[str]", change: "list[str] | tuple"
    ) -> Message:
        return Message(
            kind, *(tuple(dict.fromkeys(part)) for part in (codes, says, change)), self._where
        )

    def _texts(self, node: "ast.expr | None", depth: int = 3) -> list[str]:
        """The templates that an expression may give; none where that needs more than reading."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            parts = [[v.value] if isinstance(v, ast.Constant) else [HOLE] for v in node.values]
            return ["".join(choice) for choice in product(*parts)][:MANY]
        if isinstance(node, ast.BinOp):
            sides = [self._texts(side, depth) or [HOLE] for side in (node.left, node.right)]
            return ["".join(choice) for choice in product(*sides)][:MANY]
        if isinstance(node, ast.IfExp):
            return [*self._texts(node.body, depth), *self._texts(node.orelse, depth)]
        if not depth:
            return []
        if isinstance(node, ast.Name):
            here, above = (node.id, self._scope.get(id(node))), (node.id, None)
            values = self._assigned.get(here) or self._assigned.get(above, [])
            return [t for value in values for t in self._texts(value, depth - 1)][:MANY]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in self._functions:
            returns = [
                n.value
                for n in ast.walk(self._functions[node.func.id])
                if isinstance(n, ast.Return)
            ]
            return [t for value in returns for t in self._texts(value, depth - 1)][:MANY]
        return []
