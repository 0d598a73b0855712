"""Files that a page may open in a window of their own: each under an address that nobody can guess."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from pathlib import Path

KEPT = 8
PATH = "/view/"
# They hold scripts of their own, so they are held apart: no origin, no network, nothing of the page.
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
    """The newest few; what was added before is deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, Path] = OrderedDict()

    def add(self, file: Path) -> str:
        """The address of a file, which is deleted when KEPT newer ones have come."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._files[token] = file
            old = [self._files.popitem(last=False)[1] for _ in range(len(self._files) - KEPT)]
        for gone in old:
            gone.unlink(missing_ok=True)
        return PATH + token

    def find(self, token: str) -> Path | None:
        """The file of an address; None for another."""
        with self._lock:
            return self._files.get(token)
