"""Syncs files to disk while they are written, so that closing them takes little time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

EVERY_S = 0.5


class EarlySync:
    """A thread that syncs the files of some folders repeatedly: begin(), end(), close().

    It ignores disk errors: closing a file syncs it as well, and reports them.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._changed = threading.Condition()
        self._folders: tuple[Path, ...] = ()
        self._last = self._closed = False
        self._thread = threading.Thread(target=self._run, name="early sync", daemon=True)
        self._thread.start()

    def begin(self, folders: Iterable[Path]) -> None:
        """Sync the files of these folders from now on, including new ones."""
        with self._changed:
            self._folders, self._last = tuple(folders), False
            self._changed.notify()

    def end(self) -> None:
        """Writing has ended: sync once more, at once, then stop. Does not wait for it."""
        with self._changed:
            self._last = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._closed and not self._last:
                    self._changed.wait(self._every_s if self._folders else None)
                if self._closed:
                    return
                folders = self._folders
                if self._last:
                    self._folders, self._last = (), False
            for folder in folders:
                _sync_files(folder)


def _sync_files(folder: Path) -> None:
    with suppress(OSError):  # it was moved or removed meanwhile
        for path in sorted(folder.iterdir()):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(handle)
            finally:
                os.close(handle)
