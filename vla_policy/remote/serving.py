"""A server's address and access: token, TLS, limits. Refuses to be open to everyone."""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass

from vla_policy.web.access import access, is_local, refuse_host, refuse_origin
from vla_policy.web.tls import server_tls

TLS_FLAGS = ("--tls-cert", "--tls-key")
OPEN_TO_ALL = "/healthz"
NO_TOKEN = "this server needs a token: Authorization: Bearer <token>, or Api-Key <token>\n"
NO_TOKEN_HEAD = (
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nConnection: close\r\n"
    f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(NO_TOKEN)}\r\n\r\n{NO_TOKEN}"
).encode()


@dataclass(frozen=True, slots=True)
class Serving:
    """host: address to listen on. token: required of clients; None: only on loopback.

    tls_cert, tls_key: files; None: no TLS. connections: robots at a time. strangers: additional
    connections, without a token so far. max_bytes: of one message. deadline_s: of a request that
    states none.
    Raises ValueError for an address outside this machine without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    connections: int = 32
    strangers: int = 96
    max_bytes: int = 16 * 1024 * 1024
    deadline_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: got {self.port}, expected 0 to 65535")
        if self.connections < 1:
            raise ValueError(f"connections: got {self.connections}, expected 1 or more")
        if not self.is_local and self.token is None:
            raise ValueError(
                f"host: got {self.host!r}, where others reach this server, and no token; give one "
                "(--token-file, or VLA_TOKEN in the environment), or listen at 127.0.0.1"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both, --tls-cert and --tls-key")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_local(self.host)

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, or None. Raises ValueError naming the files."""
        return server_tls(self.tls_cert, self.tls_key, TLS_FLAGS)


def authorised(serving: Serving, header: str | None) -> bool:
    """Whether the Authorization header has the token, as Bearer or as openpi's Api-Key."""
    if serving.token is None:
        return True
    kind, _, given = (header or "").partition(" ")
    right = secrets.compare_digest(given.strip().encode(), serving.token.encode())
    return right and kind.lower() in ("bearer", "api-key")


def judge_head(serving: Serving, head: bytes) -> bytes | None:
    """The answer to the head of a request without the token; None for one that has it, or needs none."""
    if serving.token is None:
        return None
    first, *lines = head.split(b"\r\n")
    path = first.split(b" ")[1:2]
    if path == [OPEN_TO_ALL.encode()]:
        return None
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"authorization" and authorised(
            serving, value.decode("latin-1").strip()
        ):
            return None
    return NO_TOKEN_HEAD


def refuse_stranger(serving: Serving, host: str, origin: str | None) -> str | None:
    """Why the page of another site is not served, one sentence; None for other requests."""
    if (problem := refuse_origin(origin, host)) is not None:
        return problem
    if serving.token is not None:
        return None
    return refuse_host(access(serving.host), host, "")
