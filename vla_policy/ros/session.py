"""Which ROS domain a demonstration talks in, and how `vla say` in another terminal finds it."""

from __future__ import annotations

import json
import os
import random
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

# Above 101 the ports of a domain reach into the range Linux hands out by itself.
DOMAINS = range(1, 101)


@dataclass(frozen=True, slots=True)
class Session:
    """A running graph: its process, domain and page."""

    pid: int
    domain: int
    web_port: int | None


def join_or_isolate() -> int:
    """Set ROS_DOMAIN_ID to a free domain and keep to loopback, unless the user has chosen already."""
    if not os.environ.get("ROS_DOMAIN_ID"):
        os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    if "ROS_LOCALHOST_ONLY" not in os.environ:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return int(os.environ["ROS_DOMAIN_ID"])


def free_domain() -> int:
    """A domain in which no DDS participant of this machine holds the first discovery port.

    Raises ValueError if every domain is taken.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        # RTPS 9.6.1: unicast discovery of participant 0 is at 7400 + 250 * domain + 10.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain + 10))
            except OSError:
                continue
        return domain
    raise ValueError("no free ROS domain from 1 to 100; set ROS_DOMAIN_ID")


def announce(session: Session) -> None:
    """Leave a note of the running graph for `vla say` and `vla stop`."""
    path = _path()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(json.dumps(asdict(session)))


def withdraw() -> None:
    """Remove the note, if it is this process's."""
    session = running()
    if session is not None and session.pid == os.getpid():
        _path().unlink(missing_ok=True)


def running() -> Session | None:
    """The graph that announced itself last, if its process still lives."""
    try:
        session = Session(**json.loads(_path().read_text()))
        os.kill(session.pid, 0)
    except (FileNotFoundError, ProcessLookupError, json.JSONDecodeError, TypeError):
        return None
    return session


def join() -> int:
    """Set the domain of the running graph unless ROS_DOMAIN_ID is set; the domain in use."""
    session = running()
    if session is not None and not os.environ.get("ROS_DOMAIN_ID"):
        os.environ["ROS_DOMAIN_ID"] = str(session.domain)
        if "ROS_LOCALHOST_ONLY" not in os.environ:
            os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return int(os.environ.get("ROS_DOMAIN_ID") or 0)


def _path() -> Path:
    return Path(tempfile.gettempdir()) / f"vla_policy-{os.getuid()}" / "session.json"
