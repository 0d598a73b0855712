"""Many files of a set changed as one: all of the new ones are written first, beside it, then moved into place.

`.recording/change/` holds the new files; change.json, written last, lists where they go and what is removed. From
then on the change is made, even if the process is killed: what is left is done at the next start. The set can be
opened at every moment between, because files that others refer to are moved first.
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
    replace_json,
    sync_all,
    table_bytes,
    write_file,
)
from vla_policy.data.lerobot.layout import STAGING
from vla_policy.parsing.files import read_bytes
from vla_policy.parsing.strict_json import parse_json

JOURNAL = "change.json"


class Change:
    """New files of a set below root, in the order in which they are to appear."""

    def __init__(self, root: Path, what: str) -> None:
        self.root, self.what = root, what
        self.folder = root / STAGING / "change"
        if (self.folder / JOURNAL).exists():
            raise OSError(
                f"{root}: a change that was decided is not finished; open the set again, which finishes it"
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._moves: list[tuple[str, str]] = []
        self._removes: list[str] = []

    def take(self, file: Path, target: str) -> None:
        """A file below `.recording/` that is complete goes to target, a path below root, before others.

        It stays where it is until the change is made, so that a full disk costs nothing.
        """
        self._moves.insert(0, (str(file.relative_to(self.root / STAGING)), target))

    def table(self, table: pa.Table, target: str) -> None:
        name = self._next()
        write_file(self.root / STAGING / name, table_bytes(table))
        self._moves.append((name, target))

    def json(self, value: Any, target: str, *, indent: int | None = 4) -> None:
        name = self._next()
        write_file(self.root / STAGING / name, json_bytes(value, indent=indent))
        self._moves.append((name, target))

    def remove(self, target: str) -> None:
        """target goes, after all new files have come."""
        self._removes.append(target)

    def commit(self) -> None:
        """Make the change. Raises DiskFull before anything of the set is touched."""
        sync_all([self.folder, *(self.root / STAGING / name for name, _ in self._moves)])
        replace_json(
            self.folder / JOURNAL,
            {"what": self.what, "moves": self._moves, "removes": self._removes},
        )
        finish(self.root)

    def _next(self) -> str:
        return f"change/{len(self._moves):04d}"


def finish(root: Path) -> str:
    """Do what is left of a change that was decided; what it was, '' if there is none or it was not decided."""
    folder = root / STAGING / "change"
    if not (folder / JOURNAL).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return ""
    journal = parse_json(read_bytes(folder / JOURNAL), folder / JOURNAL)
    touched: list[Path] = []
    for name, target in journal["moves"]:
        path = root / target
        source = root / STAGING / name
        if source.exists():  # else it was moved before the process ended
            _make_folders(path.parent)
            os.replace(source, path)
            touched.append(path.parent)
    _sync(touched)
    for target in journal["removes"]:
        (root / target).unlink(missing_ok=True)
    _sync([(root / target).parent for target in journal["removes"]])
    (folder / JOURNAL).unlink()
    shutil.rmtree(folder, ignore_errors=True)
    return str(journal["what"])


def _make_folders(folder: Path) -> None:
    lacking = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _sync([p.parent for p in lacking])


def _sync(folders: Sequence[Path]) -> None:
    sync_all([folder for folder in dict.fromkeys(folders) if folder.exists()])
