"""Admission of connections: a limited number, each with a time limit for its request head, which is judged before anything else.

Where all places are taken, the connection that has kept the server waiting for its head for longest is ended for the
next one, so connections that say nothing keep out no robot. What a connection sends costs time to take apart; one that
needs too much of it without a right request is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from vla_policy.remote.budget import Budget

HEAD_S = 5.0  # TLS included
LINGER_S = 1.0  # for a client to read why it is refused
MAX_HEAD = 16 * 1024
END = b"\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
# Processor time for the bytes of one connection: a right request, which is a message of at most 16 MiB, takes some 20 ms.
PATIENCE_SHARE, PATIENCE_S = 0.01, 0.2
UPGRADE_S = 0.0007  # of a request that is passed on, in measured processor time


def _no_refusal(head: bytes) -> bytes | None:
    return None


@dataclass(slots=True)
class Doors:
    """Open connections and their limit.

    refuse: called with a refusal's reason: full, slow, head, tls, token, costly.
    judge: the whole answer that refuses a request's head; None: it is served.
    budget: pays for connections that have not sent a right request.
    waiting: those without a head so far, and refused ones, oldest first.
    """

    most: int
    refuse: Callable[[str], None]
    judge: Callable[[bytes], bytes | None] = _no_refusal
    budget: Budget = field(default_factory=Budget)
    open: int = 0
    waiting: dict[Gate, None] = field(default_factory=dict)
    _inside: dict[asyncio.BaseTransport, Gate] = field(default_factory=dict)

    def enter(self, gate: Gate) -> bool:
        """Take a place; False if all are taken by connections that are served."""
        if self.open >= self.most:
            if not self.waiting:
                self.refuse("full")
                return False
            next(iter(self.waiting)).turn_away("full")
        self.open += 1
        self.waiting[gate] = None
        return True

    def pass_in(self, gate: Gate, transport: asyncio.BaseTransport) -> None:
        """The head of gate was right."""
        self.waiting.pop(gate, None)
        self._inside[transport] = gate

    def leave(self, gate: Gate, transport: asyncio.BaseTransport | None) -> None:
        """Give up the place."""
        self.open -= 1
        self.waiting.pop(gate, None)
        if transport is not None:
            self._inside.pop(transport, None)

    async def turn(self, transport: asyncio.BaseTransport | None) -> None:
        """Wait until a request of this connection may take time: at once if the one before was right."""
        gate = self._gate(transport)
        if gate is None or not gate.known:
            await self.budget.turn()

    def judged(
        self, transport: asyncio.BaseTransport | None, spent_s: float | None = None
    ) -> None:
        """The newest request of this connection was right; or wrong, which has taken spent_s."""
        if spent_s is not None:
            self.budget.spend(spent_s)
        gate = self._gate(transport)
        if gate is not None:
            gate.judged(right=spent_s is None)

    def pay(self, transport: asyncio.BaseTransport | None, seconds: float) -> None:
        """Processor time for a frame of this connection that is no request."""
        gate = self._gate(transport)
        if gate is not None:
            gate.pay(seconds)

    def _gate(self, transport: asyncio.BaseTransport | None) -> Gate | None:
        return None if transport is None else self._inside.get(transport)


class Gate(asyncio.Protocol):
    """Waits for the head of an HTTP request, then passes every byte to serve's protocol.

    serve: creates a protocol for one connection, as aiohttp's server does. cost_s: of the connection, which the budget gets
    back if a request is right. opening: the task that opens the connection; it is cancelled if that takes too long.
    known: whether its newest request was right.
    """

    def __init__(
        self, serve: Callable[[], asyncio.Protocol], doors: Doors, cost_s: float = 0.0
    ) -> None:
        self._serve, self._doors, self._cost_s = serve, doors, cost_s
        self.opening: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._head = bytearray()
        self._timer: asyncio.TimerHandle | None = None  # while it has a place
        self._refused = self.known = False
        self._patience = Budget(PATIENCE_SHARE, PATIENCE_S)

    def enter(self) -> bool:
        """Before the connection is opened; False if there is no place for it."""
        if not self._doors.enter(self):
            return False
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self.turn_away, "slow")
        return True

    def leave(self) -> None:
        """It is closed, or was never opened."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._doors.leave(self, self._transport)

    def judged(self, *, right: bool) -> None:
        """Whether its newest request was right."""
        self.known = right
        if right:
            self._patience = Budget(PATIENCE_SHARE, PATIENCE_S)
            self._doors.budget.give_back(self._cost_s)
            self._cost_s = 0.0

    def pay(self, seconds: float) -> None:
        """Processor time that it took; it is ended where that was too much."""
        self._patience.spend(seconds)
        if not self.known:
            self._doors.budget.spend(seconds)
            self._cost_s += seconds
        if self._patience.wait_s() > 0.0:
            self.turn_away("costly")

    def turn_away(self, why: str) -> None:
        """End the connection at once."""
        if not self._refused:
            self._doors.refuse(why)
        self._refused = True
        transport = self._transport
        self.leave()
        if transport is not None:
            transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._inner is None:
            self._hear(data)
            return
        began_s = time.thread_time()
        self._inner.data_received(data)
        self.pay(time.thread_time() - began_s)

    def _hear(self, data: bytes) -> None:
        """Until the head is whole."""
        self._head += data
        if END in self._head:
            head = bytes(self._head)
            self._head.clear()
            self._pass(head, cast(asyncio.Transport, self._transport))
        elif len(self._head) > MAX_HEAD or not self._head[:1].isalpha():
            self.turn_away("head")

    def _pass(self, head: bytes, transport: asyncio.Transport) -> None:
        cast(asyncio.TimerHandle, self._timer).cancel()
        refusal = self._doors.judge(head[: head.index(END)])
        if refusal is None:
            self._inner = self._serve()
            self._doors.pass_in(self, transport)
            self.pay(UPGRADE_S)
            self._inner.connection_made(transport)
            self._inner.data_received(head)
            return
        # The client closes: if it were us, bytes of it that nobody has read would take the answer with them.
        self._refused = True
        self._doors.refuse("token")
        transport.write(refusal)
        if transport.can_write_eof():
            transport.write_eof()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LINGER_S, self.turn_away, "token")

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
