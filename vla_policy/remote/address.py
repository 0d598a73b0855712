"""Address, token and certificate of a policy on another machine.

A token is never part of an address or of a command line, which every user of the machine can
read: it comes from the environment (VLA_TOKEN) or from a file that only its owner can read
(VLA_TOKEN_FILE).
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from vla_policy.parsing.fields import read_yaml
from vla_policy.paths import find_policy

SCHEMES = ("ws", "wss")
TOKEN, TOKEN_FILE, TLS_CA = "VLA_TOKEN", "VLA_TOKEN_FILE", "VLA_TLS_CA"
MAX_TOKEN = 1000


@dataclass(frozen=True, slots=True)
class Address:
    """url: of the server. jpeg: quality of the images sent; None: uncompressed.

    adapter: of those that the server has; None: the policy itself. scaled: images are sent as small as the policy makes
    them, though its scaling leaves fractions of a level that are rounded then.
    """

    url: str
    jpeg: int | None = None
    adapter: str | None = None
    scaled: bool = False


def is_address(name: str) -> bool:
    """Whether a policy of this name is on another machine."""
    return name.partition("://")[0] in SCHEMES


def server_file(name: str) -> Path | None:
    """The policy file of that name or path if it describes a server; None for every other policy.

    Raises ValueError for a file that is no YAML.
    """
    try:
        path = find_policy(name)
    except FileNotFoundError:
        return None
    if not path.is_file():
        return None
    content, _ = read_yaml(path)
    return path if isinstance(content, dict) and "server" in content else None


def is_remote(name: str) -> bool:
    """Whether a policy of this name is on the network: an address, or the file of a server."""
    return is_address(name) or server_file(name) is not None


def parse_address(text: str) -> Address:
    """ws://host:port or wss://host:port, with ?jpeg=90 for compressed images, ?scaled=1, ?adapter=NAME. Raises ValueError."""
    expected = (
        "expected ws://HOST:PORT or wss://HOST:PORT, with ?jpeg=QUALITY for compressed images, "
        "?scaled=1 for small ones, ?adapter=NAME for one of the server's adapters"
    )
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"policy {text!r}: {error}; {expected}") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"policy at {parts.hostname}: a token in an address is read by everybody; set {TOKEN} or {TOKEN_FILE}"
        )
    if parts.scheme not in SCHEMES or not parts.hostname or parts.fragment:
        raise ValueError(f"policy {text!r}: {expected}")
    asked = parse_qs(parts.query, keep_blank_values=True)
    jpeg, adapter = asked.pop("jpeg", None), asked.pop("adapter", [None])[-1]
    scaled = asked.pop("scaled", ["0"])[-1]
    if (
        asked
        or adapter == ""
        or scaled not in ("0", "1")
        or (jpeg is not None and not (jpeg[-1].isdecimal() and 1 <= int(jpeg[-1]) <= 100))
    ):
        raise ValueError(f"policy {text!r}: got {parts.query!r}; {expected}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path or '/'}"
    return Address(url, None if jpeg is None else int(jpeg[-1]), adapter, scaled == "1")


def address_text(address: Address) -> str:
    """The text that parse_address reads as address."""
    asked = {k: v for k in ("jpeg", "adapter") if (v := getattr(address, k)) is not None}
    asked |= {"scaled": 1} if address.scaled else {}
    return address.url + (f"?{urlencode(asked)}" if asked else "")


def read_token_file(path: Path) -> str:
    """The token in a file.

    Raises ValueError if others can read it or it has none, OSError if missing.
    """
    path = path.expanduser()
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(
            f"{path}: others may read or write this token (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}"
        )
    return _token(path.read_text(errors="replace"), str(path))


def find_token(
    given: Mapping[str, str] | None = None, *, token: str = TOKEN, file: str = TOKEN_FILE
) -> str | None:
    """The token in the environment, or None. token, file: names of the variables. Raises as read_token_file."""
    values = os.environ if given is None else given
    if token in values and file in values:
        raise ValueError(f"got both {token} and {file}, expected one of them")
    if token in values:
        return _token(values[token], token)
    return read_token_file(Path(values[file])) if file in values else None


def client_tls(url: str, ca: str | None) -> ssl.SSLContext | None:
    """TLS context of a wss server, checked by the file ca or the system's. None for ws."""
    if not url.startswith("wss:"):
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{TLS_CA}: {ca}: not a certificate file: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _token(text: str, where: str) -> str:
    token = text.strip()
    if (
        not 0 < len(token) <= MAX_TOKEN
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise ValueError(f"{where}: expected a token, 1 to {MAX_TOKEN} characters without spaces")
    return token
