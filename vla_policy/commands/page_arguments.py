"""Arguments of the operator's page, for verbs that start a robot's graph."""

from __future__ import annotations

import argparse
import socket

from vla_policy.ros.bringup.page_settings import LOOPBACK, PageSettings


def add_page_arguments(parser: argparse.ArgumentParser, *, port: int = 8765) -> None:
    """Port, address, token and TLS of the page; port: the default."""
    parser.add_argument(
        "--web-port", type=int, default=port, help="operator's page; 0 leaves it out"
    )
    parser.add_argument(
        "--web-host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="where the page listens (127.0.0.1); elsewhere only with a token",
    )
    parser.add_argument(
        "--web-token-file",
        default="",
        metavar="FILE",
        help="the token that the page asks for; its owner's alone",
    )
    parser.add_argument(
        "--web-tls-cert", default="", metavar="FILE", help="certificate, for https://"
    )
    parser.add_argument("--web-tls-key", default="", metavar="FILE", help="its key")


def page_settings(args: argparse.Namespace) -> PageSettings:
    """The settings of the page. Raises ValueError or OSError if it could not be served so."""
    page = PageSettings(
        args.web_port, args.web_host, args.web_token_file, args.web_tls_cert, args.web_tls_key
    )
    page.require()
    if page.port:
        _require_free(page)
    return page


def _require_free(page: PageSettings) -> None:
    port = page.port
    family = socket.AF_INET6 if ":" in page.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((page.host, port))
        except OSError as error:
            where = "" if page.host == LOOPBACK else f" of {page.host}"
            raise ValueError(
                f"port {port}{where} is in use ({error.strerror}); choose another: "
                f"--web-port {port + 1}, or none: --web-port 0"
            ) from error
