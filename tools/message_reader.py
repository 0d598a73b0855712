"""Reads the messages of one source file: Python by its syntax tree, the page's modules by their texts.

A message is a template: `…` stands where a value is put in.
"""

import ast
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "vla_policy"
HOLE = "…"
MANY = 12  # templates of one message
FINDINGS = "vla_policy.embodiment.findings"
DATA_FINDINGS = "vla_policy.data.checks.finding"
ERRORS = re.compile(r"_?[A-Z]\w*")  # whatever class is raised with words
ANSWERS = (
    "str | None",
    "tuple[bool, str]",
    "tuple[str, ...]",
)  # functions that refuse return these
LEAST = 3  # words of an answer or a line of the page
TEXT_IN_JS = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`')
VALUE_IN_JS = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")
COMMENT_IN_JS = re.compile(r"^\s*//.*$|\s//\s.*$", re.M)


@dataclass(frozen=True)
class Message:
    """kind: reason, finding, data, note, error, log, answer or page. codes: of a reason or a data finding. says: its templates.

    change: what to do, where the message itself says it. where: the file, below vla_policy/.
    """

    kind: str
    codes: tuple[str, ...]
    says: tuple[str, ...]
    change: tuple[str, ...]
    where: str


def messages_of(source: str, where: str) -> list[Message]:
    """The messages of one module, in the order of ast.walk."""
    return list(_Reader(ast.parse(source), where).messages())


def messages_of_page(source: str, where: str) -> list[Message]:
    """Sentences of one JavaScript module: texts that end with a point, or say NO in capitals."""
    found = []
    for match in TEXT_IN_JS.finditer(COMMENT_IN_JS.sub("", source)):
        says = match[1] if match[1] is not None else VALUE_IN_JS.sub(HOLE, match[2])
        if words(says) >= LEAST and (says.rstrip().endswith(".") or "NO " in says):
            found.append(Message("page", (), (says.strip(),), (), where))
    return found


def words(says: str) -> int:
    """How many words a template has of its own."""
    return len(re.findall(r"[^\W\d_]{2,}", says))


class _Reader:
    """One module: its messages, with names and helper functions of the module followed."""

    def __init__(self, tree: ast.Module, where: str) -> None:
        self._where = where
        self._nodes: list[ast.AST] = []
        self._scope: dict[int, ast.FunctionDef | None] = {}
        ahead: deque[tuple[ast.AST, ast.FunctionDef | None]] = deque([(tree, None)])
        while ahead:  # as ast.walk
            node, around = ahead.popleft()
            around = node if isinstance(node, ast.FunctionDef) else around
            self._nodes.append(node)
            self._scope[id(node)] = around
            ahead.extend((child, around) for child in ast.iter_child_nodes(node))
        self._functions = {n.name: n for n in self._nodes if isinstance(n, ast.FunctionDef)}
        self._assigned: dict[tuple[str, ast.FunctionDef | None], list[ast.expr]] = {}
        self._imported = {
            alias.asname or alias.name: node.module or ""
            for node in self._nodes if isinstance(node, ast.ImportFrom) for alias in node.names
        }  # fmt: skip
        for node in self._nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    at = getattr(target, "id", ""), self._scope.get(id(node))
                    self._assigned.setdefault(at, []).append(node.value)

    def messages(self) -> Iterator[Message]:
        for node in self._nodes:
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                if says := self._raised(node.exc):
                    yield self._message("error", (), says, ())
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from self._call(node.func.id, node)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield from self._logged(node.func, node)
            elif isinstance(node, ast.Assign):
                yield from self._answered(node)
            elif isinstance(node, ast.FunctionDef) and node.returns is not None:
                if ast.unparse(node.returns) in ANSWERS:
                    yield from self._refusals(node)

    def _raised(self, call: ast.Call) -> list[str]:
        """Of an error: its words, or those that a function puts around what it is given."""
        name = _name(call)
        given = [*call.args, *(k.value for k in call.keywords if k.arg == "text")]
        own = [t for argument in given for t in self._texts(argument)]
        if ERRORS.fullmatch(name):
            return own
        if name == "refuse":  # of a place in a file: got, expected
            return [f"{HOLE}: got {HOLE}, expected {t}" for t in own] or [
                f"{HOLE}: got {HOLE}, expected {HOLE}"
            ]
        around = [t for t in self._made_by(name) if words(t)]
        return [*around, *(t for t in own if words(t) >= 2)]

    def _made_by(self, name: str) -> list[str]:
        """The words of an error that a function returns, here or where it is imported from."""
        if name in self._functions:
            returned = [
                n.value for n in ast.walk(self._functions[name]) if isinstance(n, ast.Return)
            ]
            calls = [v for v in returned if isinstance(v, ast.Call) and ERRORS.fullmatch(_name(v))]
            return [t for call in calls for argument in call.args for t in self._texts(argument)]
        module = _module(self._imported.get(name, ""))
        return [] if module is None else module._made_by(name)

    def _logged(self, called: ast.Attribute, call: ast.Call) -> Iterator[Message]:
        """Lines of a log that something is wrong, once or until it is right again."""
        wrong = called.attr in ("error", "warning", "fatal", "problem") and call.args
        if wrong and "log" in ast.unparse(called.value).lower():
            yield self._message("log", (), self._texts(call.args[-1]), ())

    def _answered(self, node: ast.Assign) -> Iterator[Message]:
        """What a service responds."""
        for target in node.targets:
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            both = both and len(target.elts) == len(node.value.elts)
            pairs = (
                zip(target.elts, node.value.elts, strict=True) if both else [(target, node.value)]
            )
            for left, right in pairs:
                if isinstance(left, ast.Attribute) and left.attr == "message":
                    yield from self._sentences(right)

    def _refusals(self, function: ast.FunctionDef) -> Iterator[Message]:
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                several = isinstance(node.value, ast.Tuple)
                for value in node.value.elts if several else [node.value]:
                    yield from self._sentences(value)

    def _sentences(self, node: ast.expr) -> Iterator[Message]:
        if says := [t for t in self._texts(node) if words(t) >= LEAST]:
            yield self._message("answer", (), says, ())

    def _call(self, name: str, call: ast.Call) -> Iterator[Message]:
        given = [*call.args, *(k.value for k in call.keywords if k.arg in ("cure", "change"))]
        if name == "print" and any(k.arg == "file" for k in call.keywords):
            yield self._message(
                "log", (), [t for argument in call.args for t in self._texts(argument)], ()
            )
        elif name == "Reason" and len(given) >= 2:
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


@cache
def _module(name: str) -> "_Reader | None":
    """The reader of a module of the package, by its dotted name."""
    path = PACKAGE.parent / f"{name.replace('.', '/')}.py"
    if not path.is_file():
        return None
    return _Reader(ast.parse(path.read_text()), path.relative_to(PACKAGE.parent).as_posix())


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")
