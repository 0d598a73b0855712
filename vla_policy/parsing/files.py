"""Reading a file from an untrusted source: a regular file, not larger than its purpose allows.

A pipe, a device or a folder given as a file would block the reader, or never end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
DOCUMENT = 8 * MIB  # configuration and statistics as JSON
ARRAYS = 1 << 40  # files that are mapped or read in pieces, never at once
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(path: Path, limit: int = DOCUMENT) -> bytes:
    """The content of a regular file of at most limit bytes.

    Raises FileNotFoundError if it does not exist, ValueError in one sentence for anything else.
    """
    require_file(path, limit)
    try:
        # The path may be another file by now: opening a pipe must not block.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path}: got something that is not a file, expected a file")
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise _too_large(path, "more", limit)
    return data


def read_text(path: Path, limit: int = DOCUMENT) -> str:
    """The text of a UTF-8 file, without its byte order mark. Raises as read_bytes."""
    return decode(read_bytes(path, limit), path)


def decode(data: bytes, where: Path | str) -> str:
    """UTF-8 without its byte order mark.

    Raises ValueError for invalid bytes, and for a zero byte.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{where}:{line}: got the byte 0x{data[error.start]:02x}, expected UTF-8 text"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{where}:{line}: got a zero byte, expected UTF-8 text")
    return text


def require_file(path: Path, limit: int = ARRAYS) -> int:
    """The size of a regular file of at most limit bytes. Raises as read_bytes."""
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: cannot be read: {error.strerror}") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: cannot be a path: {error}") from error
    for is_kind, name in KINDS:
        if is_kind(found.st_mode):
            raise ValueError(f"{path}: got {name}, expected a file")
    if found.st_size > limit:
        raise _too_large(path, f"{found.st_size:,}", limit)
    return found.st_size


@contextmanager
def within(where: Path) -> Iterator[None]:
    """Prefixes where to a ValueError raised inside whose message does not begin with it."""
    try:
        yield
    except ValueError as error:
        if str(where) in str(error):
            raise
        raise ValueError(f"{where}: {error}") from error


def one_line(text: object, most: int = 300) -> str:
    """A library's message as part of a sentence: one line, not longer than most."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _too_large(path: Path, got: str, limit: int) -> ValueError:
    return ValueError(f"{path}: got {got} bytes, expected at most {limit:,} of such a file")
