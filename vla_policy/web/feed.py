"""What all open pages are sent: each image and each state is made once, however many pages there are."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Executor

from vla_policy.web.panel import Panel


class Feed:
    """Messages of a panel for pages. Used in the server's loop; encoder: for images."""

    def __init__(self, panel: Panel, encoder: Executor) -> None:
        self.panel = panel
        self._encoder = encoder
        self._made: dict[int, tuple[int, bytes | None]] = {}  # camera -> number and message
        self._encoding: dict[int, asyncio.Task[None]] = {}
        self._state = (-1, "")

    def state(self) -> tuple[int, str]:
        """(number of changes, message with the state)."""
        if self._state[0] != self.panel.changes:
            changes, state = self.panel.told()
            self._state = changes, json.dumps({"state": dict(state)})
        return self._state

    def begin(self, k: int) -> asyncio.Task[None] | None:
        """Begin with the newest image of camera k; None if its message is made already."""
        if k in self._encoding:
            return self._encoding[k]
        if self.panel.number(self.panel.cameras[k]) <= self._made.get(k, (0, None))[0]:
            return None
        self._encoding[k] = asyncio.create_task(self._encode(k))
        return self._encoding[k]

    async def image(self, k: int, after: int) -> tuple[int, bytes] | None:
        """(number, message) of the newest image of camera k, or None if its number is not > after."""
        if (begun := self.begin(k)) is not None:
            await asyncio.shield(begun)  # others wait for it, too
        number, message = self._made.get(k, (0, None))
        return None if message is None or number <= after else (number, message)

    async def _encode(self, k: int) -> None:
        camera = self.panel.cameras[k]
        number, loop = self.panel.number(camera), asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._encoder, self.panel.jpeg, camera, 0)
            made = (number, None) if found is None else (found[0], bytes([k]) + found[1])
            self._made[k] = made
        finally:
            del self._encoding[k]
