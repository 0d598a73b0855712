"""TLS of a server: its certificate and key, from files."""

from __future__ import annotations

import ssl


def server_tls(
    cert: str | None, key: str | None, names: tuple[str, str] = ("tls_cert", "tls_key")
) -> ssl.SSLContext | None:
    """The TLS context of two PEM files; None without them.

    names: of both settings, for the message. Raises ValueError for one file without the other and
    for files that are missing, do not belong together or ask for a password.
    """
    if not cert and not key:
        return None
    if not cert or not key:
        raise ValueError(f"TLS needs both, {names[0]} and {names[1]}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password OpenSSL would ask for one at a terminal, where nobody may sit.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:
        why = error.strerror if isinstance(error, FileNotFoundError) else str(error)
        raise ValueError(
            f"{names[0]} {cert}, {names[1]} {key}: not a certificate and its key: {why}"
        ) from error
    return context
