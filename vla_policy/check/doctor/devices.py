"""Cameras, arms and ports of this machine: whether this user may open them, and who has them already."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from vla_policy.check.doctor.machine import FACT, HINT, Note

# Kind of device -> patterns below /dev, and the group that may open it on Debian and Ubuntu.
KINDS = {
    "camera": (("video*",), "video"),
    "serial port of an arm": (("ttyACM*", "ttyUSB*"), "dialout"),
    "gamepad": (("input/js*",), "input"),
}
PORTS = {"the operator's page": 8765, "`vla serve`": 8000}


def devices(folder: Path = Path("/dev")) -> Iterator[Note]:
    """Devices that are plugged in, and those that this user may not open."""
    for kind, (patterns, group) in KINDS.items():
        found = sorted(path for pattern in patterns for path in folder.glob(pattern))
        closed = [path.name for path in found if not os.access(path, os.R_OK | os.W_OK)]
        if found:
            yield Note(FACT, f"{kind}: {', '.join(path.name for path in found)}")
        if closed:
            yield Note(
                HINT,
                f"this user may not open the {kind} {', '.join(closed)}",
                f"`sudo usermod -aG {group} $USER`, then log in again",
            )


def ports(known: Mapping[str, int] = PORTS) -> Iterator[Note]:
    """Ports of this software that something listens at."""
    for what, port in known.items():
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                yield Note(
                    HINT,
                    f"something listens at port {port}, that of {what}",
                    "It may be this software; if not, choose another port (--web-port, --port)",
                )
