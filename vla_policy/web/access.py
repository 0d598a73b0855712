"""Who may see the page and who may ask: names, origins and the key.

A browser of the operator loads pages of strangers, and these can send requests to any address that the
browser reaches. A page of a stranger has another origin, and one whose name is pointed at this machine
(DNS rebinding) sends its own name as Host; both are refused. A Host header is no proof of where a
request comes from, so where the page listens beyond loopback it holds no key: the key is in the
address that the node prints, behind a # that no browser sends.
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
    """names: of hosts, lower case, under which the page is served.

    anywhere: it listens on all addresses, so the address that a request came to is a name too.
    local:    only this machine can reach it, so the page itself may hold the key.
    """

    names: frozenset[str]
    anywhere: bool
    local: bool
    key: str


def access(host: str, more_names: Iterable[str] = ()) -> Access:
    """The rules of a page that listens on host, with a new key."""
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
    """Whether address is a number that only this machine reaches."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def refuse_host(rules: Access, host: str, reached: str) -> str | None:
    """Why a request with this Host header is not served, one sentence; None if it is.

    reached: the address of this machine that the connection came to.
    """
    parts = HOST.fullmatch(host)
    name = (parts["six"] or parts["name"]).lower() if parts else ""
    if name in rules.names or (rules.anywhere and name == reached.removeprefix("::ffff:").lower()):
        return None
    if rules.local:
        return "this page is served to this machine only, under its own name"
    return f"this page is not served under the name {host[:100]!r}; see the node's parameter names"


def refuse_origin(origin: str | None, host: str) -> str | None:
    """Why a request of a page of this origin is not obeyed, one sentence; None if it is.

    origin: header that browsers send and pages cannot forge; None if there is none, as from a program.
    """
    if origin is None or origin in (f"http://{host}", f"https://{host}"):
        return None
    return "requests come from the page itself only"


def has_key(rules: Access, given: object) -> bool:
    """Whether given is the key; takes the same time for every wrong one."""
    text = given if isinstance(given, str) else ""
    return secrets.compare_digest(text.encode(), rules.key.encode())
