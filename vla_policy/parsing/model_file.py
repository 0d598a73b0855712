"""Checks URDF and MJCF files before MuJoCo reads them: depth, sizes and copies, no blocking files.

MuJoCo would follow the file: a billion copies, a texture of a terabyte, a pipe as a mesh. Such
files are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from vla_policy.parsing.files import MIB, decode, one_line, read_bytes, require_file

LIMIT = 16 * MIB
MAX_DEPTH = 200
MAX_ELEMENTS = 20_000  # with copies
MAX_FILES = 1000
MESH = 512 * MIB
MAX_SIZE = 1 << 24  # of any count: pixels, heights, bytes of a name
COPIES = ("replicate", "composite", "flexcomp")
SIZED = ("texture", "hfield", "size")
FOLDERS = ("meshdir", "texturedir", "assetdir")


@dataclass(slots=True)
class _Seen:
    """Counts so far, over all included files."""

    elements: int = 0
    files: set[Path] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    named: list[tuple[Path, str]] = field(default_factory=list)


def read_model_xml(file: Path) -> ElementTree.Element:
    """The root of a URDF or MJCF that is safe to give to MuJoCo.

    Raises FileNotFoundError, or ValueError in one sentence if it is no XML or exceeds a limit.
    """
    seen = _Seen()
    root = _read(file, seen)
    for path, name in seen.named:
        for folder in ("", *sorted(seen.folders)):
            for found in (path.parent / folder / name, path.parent / folder / Path(name).name):
                if found.exists() or found.is_symlink():
                    require_file(found, MESH)
    return root


def _read(file: Path, seen: _Seen) -> ElementTree.Element:
    if file in seen.files:
        raise ValueError(f"{file}: got a file that includes itself, expected each one once")
    seen.files.add(file)
    if len(seen.files) > MAX_FILES:
        raise ValueError(f"{file}: got more than {MAX_FILES} files, expected fewer")
    root = _parse(decode(read_bytes(file, LIMIT), file), file)
    todo = [(root, 1)]
    while todo:
        element, copies = todo.pop()
        _require_small(element, file)
        copies *= _copies(element, file)
        seen.elements += copies
        if seen.elements > MAX_ELEMENTS:
            raise _too_many(file, element.tag)
        todo += [(below, copies) for below in element]
        seen.folders |= {element.attrib[key] for key in FOLDERS if key in element.attrib}
        for key, name in element.attrib.items():
            if "file" in key and name and "\0" not in name:
                name = name.removeprefix("file://")
                if element.tag == "include":
                    _read(file.parent / name, seen)
                else:
                    seen.named.append((file, name))
                    seen.folders.add(".")
    return root


def _parse(text: str, file: Path) -> ElementTree.Element:
    builder, depth, elements = ElementTree.TreeBuilder(), 0, 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if elements > MAX_ELEMENTS:
            raise _too_many(file, tag)
        if depth > MAX_DEPTH:
            at = parser.CurrentLineNumber
            raise ValueError(f"{file}:{at}: nested too deep, expected at most {MAX_DEPTH} levels")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def entity(name: str, *_: object) -> None:
        at = parser.CurrentLineNumber
        raise ValueError(f"{file}:{at}: got the entity {one_line(name, 40)!r}, expected none")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        says = expat.ErrorString(error.code)
        raise ValueError(f"{file}:{error.lineno}: not XML: {says}") from error
    return builder.close()


def _copies(element: ElementTree.Element, file: Path) -> int:
    if element.tag not in COPIES:
        return 1
    counts = element.get("count", "1").split()
    product = 1.0
    for count in counts:
        product *= max(_number(count, element, "count", file), 1)
    return int(min(product, 1 << 40))


def _require_small(element: ElementTree.Element, file: Path) -> None:
    if element.tag not in SIZED:
        return
    product = 1.0
    for key, text in element.attrib.items():
        if key in ("nrow", "ncol", "width", "height"):
            product *= max(_number(text, element, key, file), 1)
        elif key == "memory":
            _number(text.rstrip("kKmM"), element, key, file, 1 << 10)
        elif element.tag == "size":
            _number(text, element, key, file)
    if product > MAX_SIZE:
        raise ValueError(
            f"{file}: <{element.tag}>: got {product:.3g} values, expected at most {MAX_SIZE:,}"
        )


def _too_many(file: Path, tag: str) -> ValueError:
    return ValueError(
        f"{file}: got more than {MAX_ELEMENTS:,} elements at <{one_line(tag, 40)}>, expected fewer"
    )


def _number(
    text: str, element: ElementTree.Element, key: str, file: Path, most: float = MAX_SIZE
) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value <= most:
        raise ValueError(
            f"{file}: <{element.tag}> {key}: got {one_line(repr(text), 40)}, expected at most {most:,}"
        )
    return value
