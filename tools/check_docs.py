"""Hold the documents against what exists: links and anchors, file names, commands, imports in examples.

    python tools/check_docs.py [FILE.md ...]      # or: make docs

One line per mistake, FILE:LINE: what; exit code 1 if there is one. Reads sources only: no ROS, nothing installed.
"""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import doc_commands
import site_reference
from doc_commands import PACKAGE, ROOT

FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.M | re.S)
SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.M)
FOLDERS = tuple(
    p.name
    for p in ROOT.iterdir()
    if p.is_dir()
    and p.name
    not in (".git", "build", "install", "log", "data", "runs", "out", "site", "outputs", "takes")
)
SKIPPED = {"build", "install", "log", ".venv", ".git", "__pycache__"}
WRITES = ("--out", "--plots", ">", "-o")


def documents() -> list[Path]:
    """Every document of the repository."""
    folders = [
        ROOT,
        *(
            ROOT / name
            for name in ("docs", "docs/robots", "docs/tutorials", "interfaces", "examples")
        ),
    ]
    return [path for folder in folders for path in sorted(folder.glob("*.md"))]


def mistakes(path: Path) -> list[str]:
    """What is wrong in one document, as FILE:LINE: sentence."""
    text = path.read_text()
    found = [*_blocks(text), *_spans(_blank(FENCE, text)), *_links(text, path)]
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return [f"{name}:{text.count(chr(10), 0, at) + 1}: {what}" for at, what in sorted(found)]


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Of fenced blocks: the commands, and the imports of Python."""
    for block in FENCE.finditer(text):
        if block[1] == "python":
            yield from ((block.start(), what) for what in _python_block(block[2]))
        elif not block[1] or block[1] in ("sh", "bash", "console"):
            at = block.start(2)
            for line in re.sub(r"\\\n", "  ", block[2]).splitlines(keepends=True):
                yield from ((at, what) for what in _command_line(line))
                at += len(line)


def _spans(text: str) -> Iterator[tuple[int, str]]:
    """Of `code` in sentences: a command, or the name of a file."""
    for span in SPAN.finditer(text):
        code = span[1].replace("\n", " ").replace("\\|", "¦")
        yield from ((span.start(), what) for what in _command_line(code))


def _links(text: str, path: Path) -> Iterator[tuple[int, str]]:
    for link in LINK.finditer(_blank(SPAN, _blank(FENCE, text))):
        target, _, anchor = link[1].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = path.parent / target if target else path
        if file.parent.name == "reference" and file.name in site_reference.PAGES:
            continue  # made while the site is built
        if not file.exists():
            yield link.start(), f"link to {target}, which is not there"
        elif anchor and anchor not in anchors(file.read_text()):
            yield link.start(), f"link to {link[1]}: there is no such heading"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    return {slug(heading) for heading in HEADING.findall(_blank(FENCE, text))}


def slug(heading: str) -> str:
    """The anchor of one heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _command_line(line: str) -> Iterator[str]:
    """Sentences about the commands of one line, and about the files that it names."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # a quote that is an apostrophe: no command
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if word and set(word) <= set(";&|"):
            if what := doc_commands.problem(command):
                yield what
            yield from _files(command)
            command = []
        else:
            command.append(word)


def _files(words: list[str]) -> Iterator[str]:
    written = {i + 1 for i, word in enumerate(words) if word in WRITES}
    for i, word in enumerate(words):
        value = word.partition("=")[2] if re.match(r"[A-Z]+=", word) else word
        for name in value.split() if i not in written else ():
            if not _exists(name):
                yield f"{name} is not there"


def _exists(name: str) -> bool:
    """Whether a word that must name something of the repository does. Other words are all right."""
    name, _, test = name.partition("::")
    name = re.sub(r":\d+$", "", name).strip("[]().,;'\"")
    interface = re.fullmatch(rf"{PACKAGE}/(msg|srv|action)/(\w+)", name)
    if interface:
        return (ROOT / interface[1] / f"{interface[2]}.{interface[1]}").is_file()
    if not re.fullmatch(r"[\w.*<>/-]+", name):
        return True
    pattern = re.sub(r"<\w+>", "*", name)
    if "/" in name.strip("/") and name.split("/")[0] in FOLDERS:
        found = sorted(ROOT.glob(pattern.rstrip("/")))
        return bool(found) and (not test or f"def {test}(" in found[0].read_text())
    if name.endswith(".py") and not name.endswith(".launch.py") and not name.startswith("/"):
        return any(f"/{path}".endswith(f"/{name}") for path in _sources())
    return True


def _sources() -> list[str]:
    """Every Python file of the repository, from its root."""
    if not _SOURCES:
        _SOURCES.extend(
            path.relative_to(ROOT).as_posix()
            for folder in (
                ROOT,
                *(ROOT / name for name in FOLDERS if not name.startswith(".venv")),
            )
            for path in (folder.glob("*.py") if folder == ROOT else folder.rglob("*.py"))
            if not SKIPPED & set(path.parts)
        )
    return _SOURCES


_SOURCES: list[str] = []


def _python_block(code: str) -> Iterator[str]:
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        yield f"the example is no Python: {error.msg} in its line {error.lineno}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            try:
                known = doc_commands.names_in(node.module)
            except FileNotFoundError:
                yield f"there is no module {node.module}"
                continue
            yield from (
                f"{node.module} has no {alias.name}"
                for alias in node.names
                if alias.name not in known
            )


def _blank(pattern: re.Pattern, text: str) -> str:
    """text with each match replaced by as many characters that mean nothing, lines kept."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), text)


def main() -> int:
    paths = [Path(name).resolve() for name in sys.argv[1:]] or documents()
    found = [line for path in paths for line in mistakes(path)]
    print("\n".join(found) if found else f"{len(paths)} documents: nothing wrong found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
