"""Changes many files of a set as one: writes all new ones beside it, then moves them into place.

`.recording/ready/<name>/` gets the new files and change.json, which lists their targets and the
removed files. Once all of it is on disk, the folder is renamed to `.recording/change/`. From then
on the change is decided, even if the process is killed: the next start completes it. The set can
be opened at every moment between, because files that others refer to are moved first.
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

    name: of its folder. Several alternative changes of one set can be prepared side by side under
    different names; one of them is committed.
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
        """Move a complete file below `.recording/` to target, a path below root, before others.

        It stays in place until the change is made, so that a full disk loses nothing.
        """
        self._moves.insert(0, (str(file.relative_to(self._staging)), target))
        self._taken.append(file)

    def table(self, table: pa.Table, target: str) -> None:
        self._write(table_bytes(table), target)

    def json(self, value: Any, target: str, *, indent: int | None = 4) -> None:
        self._write(json_bytes(value, indent=indent), target)

    def remove(self, target: str) -> None:
        """Remove target after all new files were moved."""
        self._removes.append(target)

    def make_ready(self) -> None:
        """Write and sync all of it, so that commit() has only to rename. Decides nothing.

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
        """Once this returns the change is decided, whatever happens; all files are in place.

        Call finish() before any other change of the set: it waits until the new places are synced
        too, and deletes the record of the change. Raises DiskFull as commit().
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
    """Complete a decided change; its description, '' if there was none or only a sync left."""
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
    """Move new files into place, in order; the number of those that were not there yet."""
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
