"""A server's sockets: connections are taken one at a time, and no faster than the budget for strangers allows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from vla_policy.remote.gate import FULL, HEAD_S, Doors, Gate

BACKLOG = 128
PAUSE_S = 0.5  # where the system gives no more sockets
# Processor time of a connection, taken before it is known whether it is a robot's, which gets it back.
PLAIN_S, TLS_S = 0.0003, 0.002


def require_port(host: str, port: int) -> None:
    """Raises OSError, one sentence, if a server cannot listen there."""
    try:
        where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in where:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        raise OSError(
            f"--host {host}, --port {port}: cannot listen there: {error.strerror or error}; is another server running?"
        ) from error


@dataclass(slots=True)
class Listening:
    """serve: creates the protocol of one connection, as aiohttp's server does. tls: None without."""

    serve: Callable[[], asyncio.Protocol]
    doors: Doors
    tls: ssl.SSLContext | None
    _sockets: list[socket.socket] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        bound = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        self._sockets = [one.dup() for one in bound.sockets]
        bound.close()
        for one in self._sockets:
            one.setblocking(False)
            one.listen(BACKLOG)
            self._keep(loop.create_task(self._accept(one)))
        found: int = self._sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Take no more connections, and give up those that are being opened."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._sockets:
            one.close()

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop, budget = asyncio.get_running_loop(), self.doors.budget
        cost_s = PLAIN_S if self.tls is None else TLS_S
        while True:
            await budget.turn()
            try:
                near, _ = await loop.sock_accept(listening)
            except OSError:  # no more files, or a client that is gone already
                await asyncio.sleep(PAUSE_S)
                continue
            budget.spend(cost_s)
            gate = Gate(self.serve, self.doors, cost_s)
            if gate.enter():
                gate.opening = self._keep(loop.create_task(self._open(near, gate)))
            else:
                self._refuse(near)
            await asyncio.sleep(0)  # one connection, then everybody else

    async def _open(self, near: socket.socket, gate: Gate) -> None:
        loop = asyncio.get_running_loop()
        timeout_s = None if self.tls is None else HEAD_S
        try:
            await loop.connect_accepted_socket(
                lambda: gate, near, ssl=self.tls, ssl_handshake_timeout=timeout_s
            )
        except OSError:  # not TLS, or one that is too old
            gate.opening = None
            gate.turn_away("tls")
        finally:
            gate.opening = None

    def _refuse(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            if self.tls is None:
                near.send(FULL)
