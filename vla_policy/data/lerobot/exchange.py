"""Replaces a set by another, safely if the process is killed; the old one is kept as <name>.undo.

If the system can exchange two names, the place is never empty. A journal beside it,
`.<name>.exchange.json`, identifies the new folder by its inode: finish_exchange() completes an
exchange after a kill.
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

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # Linux's values


def edited_of(source: Path) -> Path:
    """Where a changed set is written before it replaces source."""
    return source.with_name(f".{source.name}.edited")


def undo_of(source: Path) -> Path:
    """Where the set is kept that was replaced last."""
    return source.with_name(f"{source.name}.undo")


def journal_of(source: Path) -> Path:
    return source.with_name(f".{source.name}.exchange.json")


def exchange(source: Path, new: Path) -> None:
    """new (edited_of or undo_of source) replaces source, which becomes undo_of(source)."""
    replace_json(journal_of(source), {"new": new.stat().st_ino})
    finish_exchange(source)


def finish_exchange(source: Path) -> bool:
    """Complete a started exchange; returns whether there was one.

    The caller must hold the folder.
    """
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
    if edited.exists():  # the replaced set
        shutil.rmtree(undo, ignore_errors=True)
        os.rename(edited, undo)
    sync_folder(source.parent)
    journal.unlink()
    sync_folder(source.parent)
    return True


def _in_steps(source: Path, new: Path) -> None:
    """Without exchange of names: for a moment there is nothing at source."""
    edited, undo = edited_of(source), undo_of(source)
    if new == undo:
        os.rename(undo, edited)
    if source.exists():
        shutil.rmtree(undo, ignore_errors=True)
        os.rename(source, undo)
    os.rename(edited, source)


def _swap(a: Path, b: Path) -> bool:
    """Exchange two names atomically; False if the system or the disk cannot."""
    with suppress(AttributeError):  # not Linux
        call = ctypes.CDLL(None, use_errno=True).renameat2
        return int(call(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE)) == 0
    return False
