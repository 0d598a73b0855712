"""Which ROS domain a graph talks in, and how `vla say` and `vla stop` in another terminal find it."""

from __future__ import annotations

import json
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

# Above 101 the ports of a domain reach into the range Linux hands out by itself.
DOMAINS = range(1, 101)
PARTICIPANTS = 4  # of a domain whose first port is looked at; the first may have ended


@dataclass(frozen=True, slots=True)
class Session:
    """A running graph: its process, domain, page, robot by name, namespace as "" or "/left"."""

    pid: int
    domain: int
    web_port: int | None
    robot: str = ""
    namespace: str = ""


def join_or_isolate() -> int:
    """Set ROS_DOMAIN_ID to a free domain and keep to loopback, unless the user has chosen already."""
    if not os.environ.get("ROS_DOMAIN_ID"):
        os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    _keep_to_loopback()
    return int(os.environ["ROS_DOMAIN_ID"])


def free_domain() -> int:
    """A domain in which no DDS participant of this machine holds the first discovery port.

    Raises ValueError if every domain is taken.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        if not _taken(domain, 0):
            return domain
    raise ValueError("no free ROS domain from 1 to 100; set ROS_DOMAIN_ID")


def domains_in_use() -> tuple[int, ...]:
    """Domains in which a DDS participant of this machine holds one of the first discovery ports."""
    return tuple(
        domain
        for domain in (0, *DOMAINS)
        if any(_taken(domain, participant) for participant in range(PARTICIPANTS))
    )


def announce(session: Session) -> None:
    """Leave a note of the running graph for `vla say` and `vla stop`, one a process."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    note = asdict(session) | {"started": _started(session.pid)}
    (folder / f"{session.pid}.json").write_text(json.dumps(note))


def withdraw() -> None:
    """Remove this process's note."""
    (_folder() / f"{os.getpid()}.json").unlink(missing_ok=True)


def running() -> tuple[Session, ...]:
    """The graphs that announced themselves and whose process still lives."""
    return tuple(_read_notes())


def join(domain: int | None = None, namespace: str | None = None) -> tuple[int, str]:
    """Choose the graph to talk to: (domain, which becomes ROS_DOMAIN_ID; namespace).

    What is None is taken from ROS_DOMAIN_ID, then from the one graph that announced itself.
    Raises ValueError with the choices if several did.
    """
    chosen = os.environ.get("ROS_DOMAIN_ID")
    if domain is None and chosen:
        domain = int(chosen)
    fits = [
        session
        for session in running()
        if domain in (None, session.domain) and namespace in (None, session.namespace)
    ]
    if len({(session.domain, session.namespace) for session in fits}) > 1:
        choices = "; or ".join(
            f"--domain {s.domain} --namespace {s.namespace or '/'} ({s.robot})" for s in fits
        )
        raise ValueError(f"several robots are running; say which: {choices}")
    if fits:
        domain, namespace = fits[0].domain, fits[0].namespace
        if not chosen:
            _keep_to_loopback()
    domain = domain or 0
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    return domain, namespace or ""


def _keep_to_loopback() -> None:
    if "ROS_LOCALHOST_ONLY" not in os.environ:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def _taken(domain: int, participant: int) -> bool:
    # RTPS 9.6.1: unicast discovery of a participant is at 7400 + 250 * domain + 10 + 2 * participant.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7400 + 250 * domain + 10 + 2 * participant))
        except OSError:
            return True
    return False


def _read_notes() -> Iterator[Session]:
    for path in sorted(_folder().glob("*.json")):
        try:
            note = json.loads(path.read_text())
            started = note.pop("started")
            session = Session(**note)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # being written, or not ours
        if started is not None and started == _started(session.pid):
            yield session


def _started(pid: int) -> int | None:
    """When a process began, in ticks since boot, so that another of the same id is not taken for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"vla_policy-{os.getuid()}" / "sessions"
