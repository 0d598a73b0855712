"""One connection to a server: time limits in both directions, reconnects with growing pauses."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)
from websockets.sync.client import connect

from vla_policy.parsing.files import one_line
from vla_policy.runtime.policy_protocol import Unavailable

FIRST_S = 10.0  # for the first connection: a person waits, no robot
OPEN_S, CLOSE_S, PING_S = 3.0, 0.5, 20.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 2.0
MAX_REPLY = 16 * 1024 * 1024


@dataclass(slots=True)
class Connection:
    """url, token, tls: as in remote.address. Not for two threads at a time.

    greet: called with the first frame of each new connection; an exception closes the connection.
    """

    url: str
    token: str | None
    tls: ssl.SSLContext | None
    greet: Callable[[bytes | str], None]
    _open: contextlib.ExitStack | None = None
    _socket: Any = None
    _pause_s: float = 0.0
    _not_before_s: float = 0.0
    _problem: str = field(default="not connected yet")

    def ready(self, timeout_s: float) -> None:
        """Connect if there is no connection. Raises Unavailable, and what greet raises."""
        if self._open is None:
            self.connect(min(OPEN_S, timeout_s))

    def refuse_unasked(self) -> None:
        """Raises Unavailable, and closes the connection, if an unexpected message is waiting."""
        if self._open is None:
            return
        try:
            self._socket.recv(0.0)
        except TimeoutError:
            return
        except (WebSocketException, OSError) as error:
            raise self.failed(f"the server is gone: {_told(error)}") from error
        raise self.failed("the server sent an answer that nobody asked for")

    def request(self, data: bytes, timeout_s: float) -> None:
        """Send one message, connecting first if necessary. Raises Unavailable."""
        ends_s = time.monotonic() + timeout_s
        self.ready(timeout_s)
        try:
            with bounded(self._raw(), ends_s):
                self._socket.send(data)
        except (WebSocketException, OSError) as error:
            raise self.failed(f"the request could not be sent: {_told(error)}") from error

    def reply(self, ends_s: float) -> bytes | str:
        """The next message. Raises Unavailable if none comes before time.monotonic is ends_s."""
        try:
            data: bytes | str = self._socket.recv(max(0.0, ends_s - time.monotonic()))
        except TimeoutError:
            raise
        except (WebSocketException, OSError) as error:
            raise self.failed(f"the server is gone: {_told(error)}") from error
        return data

    def failed(self, why: str) -> Unavailable:
        """Drop the connection without a closing message; returns the error to raise."""
        cut(self._raw())
        self.close()
        self._problem = why
        self._pause_s = min(LAST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
        self._not_before_s = time.monotonic() + self._pause_s
        return Unavailable(f"{self.url}: {why}")

    def worked(self) -> None:
        """An answer came: the next failure is followed by a short pause again."""
        self._pause_s = 0.0

    def close(self) -> None:
        """End the connection, if any."""
        stack, self._open = self._open, None
        if stack is not None:
            with (
                bounded(self._raw(), time.monotonic() + CLOSE_S),
                contextlib.suppress(WebSocketException, OSError),
            ):
                stack.close()
        self._socket = None

    def connect(self, timeout_s: float) -> None:
        """Open the connection and receive its first frame. Raises Unavailable, and what greet raises."""
        now_s = time.monotonic()
        if now_s < self._not_before_s:
            raise Unavailable(
                f"{self.url}: {self._problem}; next try in {self._not_before_s - now_s:.1f} s"
            )
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        stack = contextlib.ExitStack()
        try:
            self._socket = stack.enter_context(
                connect(
                    self.url, ssl=self.tls, additional_headers=headers, compression=None, proxy=None,
                    open_timeout=timeout_s, close_timeout=CLOSE_S, ping_interval=PING_S, ping_timeout=PING_S,
                    max_size=MAX_REPLY, max_queue=4,
                )
            )  # fmt: skip
            self._open = stack
            first = self._socket.recv(timeout_s)
        except ssl.SSLCertVerificationError as error:
            raise self.failed(f"its certificate is refused: {error.verify_message}") from error
        except InvalidStatus as error:
            raise self.failed(_refusal(error)) from error
        except TimeoutError as error:
            raise self.failed(f"no answer to the connection in {timeout_s:.1f} s") from error
        except (WebSocketException, InvalidHandshake, OSError) as error:
            raise self.failed(
                f"no connection: {_told(error)}{self._other_scheme(error)}"
            ) from error
        try:
            self.greet(first)
        except (ValueError, Unavailable) as error:
            self.failed(str(error))
            raise

    def _other_scheme(self, error: BaseException) -> str:
        """What to try where an address is answered, but not as its scheme has it."""
        if self.tls is not None and isinstance(error, ssl.SSLError | ConnectionResetError):
            return "; ws:// is the address of a server without TLS"
        if self.tls is None and isinstance(error, InvalidMessage):
            return "; wss:// is the address of a server with TLS"
        return ""

    def _raw(self) -> socket.socket | None:
        return getattr(self._socket, "socket", None)


@contextlib.contextmanager
def bounded(raw: socket.socket | None, ends_s: float) -> Iterator[threading.Event]:
    """Ends the connection's current operation at ends_s, time.monotonic, whatever the server does.

    The event is set when it was ended so.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        cut(raw)

    timer = threading.Timer(max(0.0, ends_s - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def cut(raw: socket.socket | None) -> None:
    """End a connection at once, whichever thread uses it."""
    if raw is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(raw, socket.SHUT_RDWR)


def _refusal(error: InvalidStatus) -> str:
    status = error.response.status_code
    if status == 401:
        return "the server refuses the token (VLA_TOKEN or VLA_TOKEN_FILE)"
    said = one_line((error.response.body or b"").decode(errors="replace"), 200)
    return f"the server refuses the connection, HTTP {status}{f': {said}' if said else ''}"


def _told(error: BaseException) -> str:
    return one_line(str(error) or type(error).__name__, 200)
