"""Admission of connections: a limited number, each with a time limit for its request head."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

HEAD_S = 5.0
MAX_HEAD = 16 * 1024
END = b"\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class Doors:
    """Open connections and their limit.

    refuse: called with a refusal's reason: full, slow, head.
    """

    most: int
    refuse: Callable[[str], None]
    open: int = 0


class Gate(asyncio.Protocol):
    """Waits for the head of an HTTP request, then passes every byte to serve's protocol.

    serve: creates a protocol for one connection, as aiohttp's server does.
    """

    def __init__(self, serve: Callable[[], asyncio.Protocol], doors: Doors) -> None:
        self._serve, self._doors = serve, doors
        self._inner: asyncio.Protocol | None = None
        self._head = bytearray()
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._doors.open >= self._doors.most:
            self._doors.refuse("full")
            self._transport.write(FULL)
            self._transport.close()
            return
        self._doors.open += 1
        self._counted = True
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self._turn_away, "slow")

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
            return
        if not self._counted:
            return
        self._head += data
        if END in self._head:
            self._timer.cancel()
            self._inner = self._serve()
            self._inner.connection_made(self._transport)
            self._inner.data_received(bytes(self._head))
            self._head.clear()
        elif len(self._head) > MAX_HEAD:
            self._turn_away("head")

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted:
            self._doors.open -= 1
            self._timer.cancel()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def _turn_away(self, why: str) -> None:
        self._doors.refuse(why)
        self._transport.abort()
