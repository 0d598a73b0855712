"""A certificate of 127.0.0.1 that is signed by itself, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MISSING = "needs the program openssl"


def has_openssl() -> bool:
    """Whether certificate() can make one here."""
    return shutil.which("openssl") is not None


def certificate(folder: Path) -> tuple[str, str]:
    """(certificate, key): files in folder."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(cert), str(key)
