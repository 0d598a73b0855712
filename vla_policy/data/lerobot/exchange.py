"""A set takes the place of another, whatever happens to the process meanwhile; the other stands beside it as <name>.undo.

Where the system can exchange two names, the place is never empty. A journal beside it, `.<name>.exchange.json`, says
which of the folders is the new one, by its inode: what is left after a kill is done by finish_exchange().
"""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import suppress
from pathlib import Path

from vla_policy.data.lerobot.durable import replace_json, sync_folder
from vla_policy.parsing.files import read_bytes
from vla_policy.parsing.strict_json import parse_json

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux


def edited_of(source: Path) -> Path:
    """Where a changed set is made before it takes the place of source."""
    return source.with_name(f".{source.name}.edited")


def undo_of(source: Path) -> Path:
    """Where the set stands that was replaced last."""
    return source.with_name(f"{source.name}.undo")


def journal_of(source: Path) -> Path:
    return source.with_name(f".{source.name}.exchange.json")


def exchange(source: Path, new: Path) -> None:
    """new, edited_of(source) or undo_of(source), takes the place of source, which becomes undo_of(source)."""
    replace_json(journal_of(source), {"new": new.stat().st_ino})
    finish_exchange(source)


def finish_exchange(source: Path) -> bool:
    """Do what is left of an exchange that was decided; whether there was one. For who holds the folder."""
    journal = journal_of(source)
    if not journal.is_file():
        return False
    number = parse_json(read_bytes(journal), journal)["new"]
    edited, undo = edited_of(source), undo_of(source)
    places = [p for p in (source, edited, undo) if p.exists() and p.stat().st_ino == number]
    if not places:
        raise OSError(f"{journal}: names a folder that is not beside it; nothing was changed")
    new = places[0]
    if new != source and not (source.exists() and _swap(source, new)):
        _in_steps(source, new)
    if edited.exists():  # what was in the place before
        shutil.rmtree(undo, ignore_errors=True)
        os.rename(edited, undo)
    sync_folder(source.parent)
    journal.unlink()
    sync_folder(source.parent)
    return True


def _in_steps(source: Path, new: Path) -> None:
    """Where names cannot be exchanged: for a moment there is nothing at source."""
    edited, undo = edited_of(source), undo_of(source)
    if new == undo:
        os.rename(undo, edited)
    if source.exists():
        shutil.rmtree(undo, ignore_errors=True)
        os.rename(source, undo)
    os.rename(edited, source)


def _swap(a: Path, b: Path) -> bool:
    """Exchange two names at once; False where the system or the disk cannot."""
    with suppress(AttributeError):  # another system than Linux
        call = ctypes.CDLL(None, use_errno=True).renameat2
        return int(call(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE)) == 0
    return False
