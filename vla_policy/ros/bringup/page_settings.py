"""Where the operator's page listens and what it asks for; the same token and TLS as `vla serve`. No ROS in here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_policy.remote.address import find_token, read_token_file
from vla_policy.web.access import access, is_local, page_url
from vla_policy.web.tls import server_tls

LOOPBACK = "127.0.0.1"
TLS_FLAGS = ("--web-tls-cert", "--web-tls-key")


@dataclass(frozen=True, slots=True)
class PageSettings:
    """port: 0 leaves the page out. The others are parameters of its node."""

    port: int
    host: str = LOOPBACK
    token_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def require(self) -> None:
        """Raises ValueError or OSError, in a sentence, for a page that its node would not serve."""
        if not 0 <= self.port <= 65535:
            raise ValueError(f"web port: got {self.port}, expected 0 to 65535")
        if self.port:
            access(self.host, token=page_token(self.host, self.token_file))
            server_tls(self.tls_cert, self.tls_key, TLS_FLAGS)

    @property
    def url(self) -> str:
        """The page's address, as browsers reach it."""
        return page_url(self.host, self.port, tls=bool(self.tls_cert))

    def parameters(self) -> dict[str, bool | int | float | str]:
        """Of the page's node, without its port; paths hold in any working directory."""
        files = {"token_file": self.token_file, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        absolute = {
            name: str(Path(file).expanduser().absolute()) for name, file in files.items() if file
        }
        return {**({} if self.host == LOOPBACK else {"host": self.host}), **absolute}


def page_token(host: str, token_file: str) -> str | None:
    """The token that a page on host asks for: that of the file, else beyond loopback of the environment.

    VLA_TOKEN and VLA_TOKEN_FILE may be meant for a policy's server, so a page that only this machine
    reaches does not ask for them. Raises as read_token_file.
    """
    if token_file:
        return read_token_file(Path(token_file))
    return None if is_local(host) else find_token()
