"""Single keys of a terminal, or characters of a pipe, as commands for a recorder."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

WORDS = {
    " ": "go", "s": "success", "f": "failure", "x": "discard", "d": "delete_last", "q": "quit",
    "\x03": "quit", "\x04": "quit", "": "quit",
}  # fmt: skip


@contextmanager
def single_keys() -> Iterator[None]:
    """Keys come one by one, without an enter key, while this is open."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin.fileno())
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def next_word(timeout_s: float) -> str | None:
    """The command of the next key within timeout_s; None without a key, or for an unknown one."""
    ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
    if not ready:
        return None
    key = os.read(sys.stdin.fileno(), 1).decode(errors="replace")
    return WORDS.get(key.lower())
