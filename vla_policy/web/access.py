"""Who may open the page and send requests: host names, origins and the key.

An operator's browser also loads pages of strangers, which can send requests to any address that
the browser reaches. A stranger's page has another origin; one whose name is pointed at this
machine (DNS rebinding) sends its own name as Host. Both are refused. A Host header does not prove
where a request comes from, so a page that listens beyond loopback does not contain the key: the
key is in the address that the node prints, behind a # that no browser sends.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
HOST = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Access:
    """names: host names, lower case, under which the page is served.

    anywhere: it listens on all addresses, so the address of a request is also a valid name.
    local:    only this machine can reach it, so the page itself may contain the key.
    """

    names: frozenset[str]
    anywhere: bool
    local: bool
    key: str


def access(host: str, more_names: Iterable[str] = ()) -> Access:
    """The access rules of a page that listens on host, with a new key."""
    wanted = {name.strip().lower() for name in more_names} - {""}
    anywhere = host in ("", "0.0.0.0", "::")
    local = host.lower() == "localhost" or is_loopback(host)
    own = {host.lower()} if host and not anywhere else set()
    if not local:
        own.add(socket.gethostname().lower())
    if local or anywhere:
        own |= set(LOCAL_NAMES)
    return Access(frozenset(own | wanted), anywhere, local, secrets.token_urlsafe(24))


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


def refuse_origin(origin: str | None, host: str) -> str | None:
    """Why a request from a page of this origin is refused, one sentence; None if it is accepted.

    origin: header that browsers send and pages cannot forge; None if absent, as from a program.
    """
    if origin is None or origin in (f"http://{host}", f"https://{host}"):
        return None
    return "requests come from the page itself only"


def has_key(rules: Access, given: object) -> bool:
    """Whether given is the key; takes the same time for every wrong key."""
    text = given if isinstance(given, str) else ""
    return secrets.compare_digest(text.encode(), rules.key.encode())
