"""Who may open the page and send requests: host names, origins and the key.

An operator's browser also loads pages of strangers, which can send requests to any address that
the browser reaches. A stranger's page has another origin; one whose name is pointed at this
machine (DNS rebinding) sends its own name as Host. Both are refused. A Host header does not prove
where a request comes from, so a page that listens beyond loopback does not contain its key: it asks
for the operator's token, which no cookie keeps and no browser sends by itself.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("", "0.0.0.0", "::")  # hosts that mean all addresses
HOST = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Access:
    """names: host names, lower case, under which the page is served.

    anywhere: it listens on all addresses, so the address of a request is also a valid name.
    local:    only this machine can reach it.
    key:      what every request shows: the operator's token, else a new key.
    asks:     whether it is the token; otherwise the page itself contains the key.
    schemes:  of the page's own origin.
    """

    names: frozenset[str]
    anywhere: bool
    local: bool
    key: str
    asks: bool = False
    schemes: tuple[str, ...] = ("http", "https")


def access(
    host: str, more_names: Iterable[str] = (), *, token: str | None = None, tls: bool = False
) -> Access:
    """The access rules of a page that listens on host.

    token: that it asks for; None: on loopback alone, with a new key.
    Raises ValueError beyond loopback without a token.
    """
    wanted = {name.strip().lower() for name in more_names} - {""}
    anywhere = host in ANYWHERE
    local = is_local(host)
    if not local and token is None:
        raise ValueError(
            f"host: got {host!r}, where others reach the page, and no token; give one (the parameter "
            "token_file, --web-token-file, or VLA_TOKEN in the environment), or listen at 127.0.0.1"
        )
    own = {host.lower()} if host and not anywhere else set()
    if not local:
        own.add(socket.gethostname().lower())
    if local or anywhere:
        own |= set(LOCAL_NAMES)
    return Access(
        frozenset(own | wanted),
        anywhere,
        local,
        secrets.token_urlsafe(24) if token is None else token,
        asks=token is not None,
        schemes=("https",) if tls else ("http", "https"),
    )


def is_local(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return host.lower() == "localhost" or is_loopback(host)


def page_url(host: str, port: int, *, tls: bool = False) -> str:
    """The address of a page that listens on host, as browsers reach it."""
    name = socket.gethostname() if host in ANYWHERE else host
    return f"{'https' if tls else 'http'}://{f'[{name}]' if ':' in name else name}:{port}/"


def is_loopback(address: str) -> bool:
    """Whether address is a loopback address, which only this machine reaches."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def refuse_host(rules: Access, host: str, reached: str) -> str | None:
    """Why a request with this Host header is refused, one sentence; None if it is served.

    reached: this machine's address of the connection.
    """
    parts = HOST.fullmatch(host)
    name = (parts["six"] or parts["name"]).lower() if parts else ""
    if name in rules.names or (rules.anywhere and name == reached.removeprefix("::ffff:").lower()):
        return None
    if rules.local:
        return "this page is served to this machine only, under its own name"
    return f"this page is not served under the name {host[:100]!r}; see the node's parameter names"


def refuse_origin(
    origin: str | None, host: str, schemes: Iterable[str] = ("http", "https")
) -> str | None:
    """Why a request from a page of this origin is refused, one sentence; None if it is accepted.

    origin: header that browsers send and pages cannot forge; None if absent, as from a program.
    schemes: those of the page; behind a proxy it may be another one than the server's own.
    """
    if origin is None or origin in [f"{scheme}://{host}" for scheme in schemes]:
        return None
    return "requests come from the page itself only"


def has_key(rules: Access, given: object) -> bool:
    """Whether given is the key; takes the same time for every wrong key."""
    text = given if isinstance(given, str) else ""
    return secrets.compare_digest(text.encode(), rules.key.encode())
