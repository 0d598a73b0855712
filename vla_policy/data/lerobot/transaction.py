"""Many files of a set changed as one: all of the new ones are written first, beside it, then moved into place.

`.recording/ready/<name>/` gets the new files and change.json, which lists where they go and what is removed. Once the
disk has all of it, the folder is renamed to `.recording/change/`. From then on the change is made, even if the process
is killed: what is left is done at the next start. The set can be opened at every moment between, because files that
others refer to are moved first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from vla_policy.data.lerobot.durable import (
    json_bytes,
    room_for,
    sync_all,
    sync_folder,
    table_bytes,
    write_file,
)
from vla_policy.data.lerobot.layout import STAGING
from vla_policy.parsing.files import read_bytes
from vla_policy.parsing.strict_json import parse_json

JOURNAL, CHANGE, READY = "change.json", "change", "ready"


class Change:
    """New files of a set below root, in the order in which they are to appear.

    name: of the folder that it is made in. Several changes of one set, of which one is wanted in the end, can be made
    beside each other under different names.
    """

    def __init__(self, root: Path, what: str, name: str = "only") -> None:
        self.root, self.what = root, what
        self._staging = root / STAGING
        if (self._staging / CHANGE / JOURNAL).exists():
            raise OSError(
                f"{root}: a change that was decided is not finished; open the set again, which finishes it"
            )
        self.folder = self._staging / READY / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._moves: list[tuple[str, str]] = []
        self._removes: list[str] = []
        self._taken: list[Path] = []
        self._is_ready = False

    def take(self, file: Path, target: str) -> None:
        """A file below `.recording/` that is complete goes to target, a path below root, before others.

        It stays where it is until the change is made, so that a full disk costs nothing.
        """
        self._moves.insert(0, (str(file.relative_to(self._staging)), target))
        self._taken.append(file)

    def table(self, table: pa.Table, target: str) -> None:
        self._write(table_bytes(table), target)

    def json(self, value: Any, target: str, *, indent: int | None = 4) -> None:
        self._write(json_bytes(value, indent=indent), target)

    def remove(self, target: str) -> None:
        """target goes, after all new files have come."""
        self._removes.append(target)

    def make_ready(self) -> None:
        """Put all of it on the disk, so that commit() has no more to do than to rename. Decides nothing.

        Raises DiskFull.
        """
        journal = {"what": self.what, "moves": self._moves, "removes": self._removes}
        write_file(self.folder / JOURNAL, json_bytes(journal))
        folders = {self.folder.parent, self.folder, *(file.parent for file in self._taken)}
        sync_all([*folders, *self.folder.iterdir(), *self._taken])
        self._is_ready = True

    def commit(self) -> None:
        """Make the change. Raises DiskFull before anything of the set is touched."""
        self.decide()
        finish(self.root)

    def decide(self) -> None:
        """From its return on the change is made, whatever happens; all files are in their places.

        finish() is to be called before anything else is changed in the set: it waits until the places are on the disk
        too, and forgets the change. Raises DiskFull as commit() does.
        """
        if not self._is_ready:
            self.make_ready()
        decided = self._staging / CHANGE
        shutil.rmtree(decided, ignore_errors=True)
        with room_for(decided):
            os.replace(self.folder, decided)
            sync_folder(self._staging)
        _move(self.root, self._moves)

    def _write(self, data: bytes, target: str) -> None:
        name = f"{len(self._moves):04d}"
        write_file(self.folder / name, data)
        self._moves.append((f"{CHANGE}/{name}", target))


def finish(root: Path) -> str:
    """Do what is left of a change that was decided; what it was, '' if there was none, or only to be synced."""
    folder = root / STAGING / CHANGE
    if not (folder / JOURNAL).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return ""
    journal = parse_json(read_bytes(folder / JOURNAL), folder / JOURNAL)
    moved = _move(root, journal["moves"])
    targets = [root / target for _, target in journal["moves"]]
    _sync([p for target in targets for p in target.parents if p == root or root in p.parents])
    for target in journal["removes"]:
        (root / target).unlink(missing_ok=True)
    _sync([(root / target).parent for target in journal["removes"]])
    (folder / JOURNAL).unlink()
    shutil.rmtree(folder, ignore_errors=True)
    return str(journal["what"]) if moved or journal["removes"] else ""


def _move(root: Path, moves: Sequence[Sequence[str]]) -> int:
    """Put new files in their places, in order; how many were not there yet."""
    count = 0
    for name, target in moves:
        source, path = root / STAGING / name, root / target
        if source.exists():  # else it was moved before the process ended
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, path)
            count += 1
    return count


def _sync(folders: Sequence[Path]) -> None:
    sync_all([folder for folder in dict.fromkeys(folders) if folder.exists()])
