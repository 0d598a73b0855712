"""Small changes of a program, one at a time, each of which some test should notice.

Comparisons and their bounds, numbers, arithmetic, conditions, results, statements, defaults, arguments that are
left out, names and codes. Text for people, annotations and decorators stay.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {
    "min": "max", "minimum": "maximum", "any": "all", "argmin": "argmax", "floor": "ceil",
    "lower": "upper", "sin": "cos", "zeros_like": "ones_like", "zeros": "ones",
    "append": "clear",
}  # fmt: skip
NAMES |= {new: old for old, new in NAMES.items() if new not in ("ones", "ones_like", "clear")}
DROPPED = ("abs", "sorted", "reversed", "round")  # calls f(x) that are left out
SMALL = 1e-6  # a number up to this is a tolerance: none at all, or a generous one
SKIPPED = ("annotation", "returns", "decorator_list", "type_params", "ctx")
WIDTH = 88


@dataclass(frozen=True)
class Mutant:
    """function: qualified name; '' outside. change: source before -> after.

    lines: of the statement. loaded: name whose value changes when the module is loaded; None: the change is in a
    function's body. place, new: the node there is replaced by new.
    """

    file: str
    function: str
    change: str
    lines: range
    loaded: str | None
    place: tuple[ast.AST, str, int | None]
    new: ast.AST

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.file, self.function, self.change

    def apply(self) -> None:
        """Change the tree that it was found in, for good."""
        put(self.place, self.new)


@dataclass(frozen=True)
class Where:
    """function, loaded: as in Mutant. statement, above: what encloses a node, within its statement."""

    function: str = ""
    loaded: str | None = ""
    statement: ast.stmt | None = None
    above: tuple[ast.AST, ...] = ()


def mutants_of(file: str, tree: ast.Module) -> list[Mutant]:
    """All mutants of a module. file: its name in reports."""
    return list(_below(file, tree, Where()))


def put(place: tuple[ast.AST, str, int | None], node: ast.AST) -> None:
    parent, field, index = place
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _below(file: str, node: ast.AST, where: Where) -> Iterator[Mutant]:
    for field, value in ast.iter_fields(node):
        if field in SKIPPED:
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not _is_text(child, node, field):
                place = (node, field, index if isinstance(value, list) else None)
                yield from _at(file, child, place, where)


def _at(file: str, node: ast.AST, place: tuple, where: Where) -> Iterator[Mutant]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield from _definition(file, node, where)
        return
    if isinstance(node, ast.stmt):
        where = Where(where.function, where.loaded, node)
        if where.loaded == "":
            where = Where(where.function, _target(node), node)
    for new in _replacements(node, place):
        yield _mutant(file, node, place, new, where)
    inner = Where(where.function, where.loaded, where.statement, (*where.above, node))
    yield from _below(file, node, inner)


def _definition(file: str, node: ast.FunctionDef | ast.ClassDef, where: Where) -> Iterator[Mutant]:
    """A function's defaults are evaluated when it is loaded; its body when it is called."""
    if where.loaded is None:  # a function in a function belongs to the outer one
        yield from _below(file, node, where)
        return
    name = f"{where.function}.{node.name}".lstrip(".")
    if isinstance(node, ast.ClassDef):
        yield from _below(file, node, Where(name, node.name))
        return
    yield from _below(file, node.args, Where(name, node.name, node))
    body = ast.Module(node.body, [])
    yield from _below(file, body, Where(name, None))


def _is_text(node: ast.AST, parent: ast.AST, field: str) -> bool:
    """Text for people, imports, and what only a type checker reads."""
    if isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        # What a dataclass field is made of; whether lengths agree is said for the reader.
        return node.func.id in ("field", "dataclass")
    if isinstance(node, ast.keyword):
        return node.arg in ("strict", "dtype")
    return False


def _target(statement: ast.stmt) -> str:
    """The name that a statement of a module gives a value; '' if none."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return names[0] if names else "?"


def _mutant(file: str, node: ast.AST, place: tuple, new: ast.AST, where: Where) -> Mutant:
    statement = where.statement
    if isinstance(new, ast.Pass):
        change = f"{ast.unparse(node).splitlines()[0][:WIDTH]} -> (left out)"
    else:
        change = _change(node, place, new, where.above)
    last = statement.end_lineno
    if hasattr(statement, "body"):  # the head of a compound statement
        last = max(statement.lineno, statement.body[0].lineno - 1)
    lines = range(statement.lineno, last + 1)
    return Mutant(file, where.function, change, lines, where.loaded, place, new)


def _change(node: ast.AST, place: tuple, new: ast.AST, above: tuple[ast.AST, ...]) -> str:
    """Before and after, of the largest part of the statement that is short enough to read."""
    shown = None
    for outer in above:
        text = ast.unparse(outer)
        if isinstance(outer, (ast.expr, ast.stmt)) and "\n" not in text and len(text) <= WIDTH:
            shown, before = outer, text
            break
    if shown is None:
        return f"{ast.unparse(node)} -> {ast.unparse(new)}"
    put(place, new)
    after = ast.unparse(shown)
    put(place, node)
    return f"{before} -> {after}"


def _replacements(node: ast.AST, place: tuple) -> Iterator[ast.AST]:
    parent, field, _ = place
    if isinstance(parent, ast.If) and field == "test":
        yield ast.Constant(True)
        if isinstance(node, (ast.Name, ast.Attribute, ast.Call)):
            yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for other in COMPARISONS[type(op)]:
                    ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.AugAssign() if type(node.op) in ARITHMETIC:
            yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield ast.Pass()
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield ast.BoolOp(other, node.values)
            for i in range(len(node.values)):
                rest = [*node.values[:i], *node.values[i + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Constant():
            yield from (ast.Constant(v) for v in _values(node.value, parent, field))
        case ast.Name(id=name) if name in NAMES and field == "func":
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(attr=name) if name in NAMES and isinstance(node.ctx, ast.Load):
            yield ast.Attribute(node.value, NAMES[name], ast.Load())
        case ast.Call():
            yield from _calls(node)
        case ast.Return(value=value) if not _is_constant(value):
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Continue() | ast.Break() | ast.For() | ast.Expr():
            yield ast.Pass()
        case ast.If():
            if not node.orelse:
                yield ast.Pass()
        case ast.comprehension() if node.ifs:
            yield ast.comprehension(node.target, node.iter, [], node.is_async)
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            # A value that is changed, like `reason = reason or ...`; leaving out a first one is an error.
            if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(value)):
                yield ast.Pass()


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in DROPPED and len(node.args) == 1:
        yield node.args[0]
    if name == "clip":
        yield node.args[0]
    for i, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, "strict", "dtype", "default"):
            yield ast.Call(node.func, node.args, [*node.keywords[:i], *node.keywords[i + 1 :]])


def _values(value: object, parent: ast.AST, field: str) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1) if abs(value) < 1000 else (value * 2, value // 2)
    elif isinstance(value, float):
        if value == 0.0:
            yield 1.0
        elif abs(value) <= SMALL:
            yield from (0.0, 1e-3)
        else:
            yield from (value * 2.0, value / 2.0)
    elif isinstance(value, str) and value.isidentifier() and not isinstance(parent, ast.Slice):
        yield f"{value}_x"


def _is_constant(value: ast.expr | None) -> bool:
    return value is None or isinstance(value, ast.Constant)
