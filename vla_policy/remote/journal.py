"""A server's log: one JSON object per line, with a limited number of each kind."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

PER_WINDOW, WINDOW_S = 20, 10.0


@dataclass(slots=True)
class Journal:
    """Lines of each event, at most PER_WINDOW in WINDOW_S; the next one counts those left out."""

    stream: TextIO
    _seen: dict[str, tuple[float, int]] = field(default_factory=dict)

    def write(self, event: str, **values: Any) -> None:
        """One line: time, event and values."""
        now_s = time.monotonic()
        since_s, lines = self._seen.get(event, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            if lines > PER_WINDOW:
                values["left_out_before"] = lines - PER_WINDOW
            since_s, lines = now_s, 0
        self._seen[event] = since_s, lines + 1
        if lines < PER_WINDOW:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = json.dumps({"time": stamp, "event": event, **values}, default=str)
            print(line, file=self.stream, flush=True)
