"""Files that a page may open in a new window, each under an unguessable address."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from pathlib import Path

KEPT = 8
PATH = "/view/"
# They contain their own scripts, so they are isolated: no origin, no network, no access to the
# page.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class Documents:
    """The newest few files; older ones are deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, Path] = OrderedDict()

    def add(self, file: Path) -> str:
        """The address of a file, which is deleted once KEPT newer ones were added."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._files[token] = file
            old = [self._files.popitem(last=False)[1] for _ in range(len(self._files) - KEPT)]
        for gone in old:
            gone.unlink(missing_ok=True)
        return PATH + token

    def find(self, token: str) -> Path | None:
        """The file of an address; None for an unknown one."""
        with self._lock:
            return self._files.get(token)
