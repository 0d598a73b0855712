"""Notes of the robots that run on this machine, one file each, so that commands need not wait for discovery.

A control node writes one, and so does the process that starts a whole graph. Only the user can read their folder. A note
is valid while the process that wrote it lives; an unusable one is left out and reported in a sentence.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vla_policy.check.doctor.domains import LAST_DOMAIN
from vla_policy.parsing.files import one_line, read_bytes
from vla_policy.parsing.strict_json import parse_json

LIMIT = 4096  # bytes of a note
NAMES = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """A running graph: its process, domain, page, robot by name, namespace as "" or "/left".

    control:   full name of the control node that wrote it; "" of who only started the graph.
    discovery: ROS_AUTOMATIC_DISCOVERY_RANGE of it, "" where it was not set.
    """

    pid: int
    domain: int
    web_port: int | None = None
    robot: str = ""
    namespace: str = ""
    control: str = ""
    discovery: str = ""

    def __post_init__(self) -> None:
        for name, most in (("pid", 1 << 31), ("domain", LAST_DOMAIN), ("web_port", 65535)):
            value = getattr(self, name)
            if name == "web_port" and value is None:
                continue
            if type(value) is not int or not 0 <= value <= most:
                raise ValueError(f"{name}: got {_short(value)}, expected 0 to {most}")
        for name in ("namespace", "control"):
            value = getattr(self, name)
            if not isinstance(value, str) or not NAMES.fullmatch(value):
                raise ValueError(f"{name}: got {_short(value)}, expected a name as in /left")
        for name in ("robot", "discovery"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > 200 or not (value + "x").isprintable():
                raise ValueError(f"{name}: got {_short(value)}, expected a short text")

    @property
    def controls(self) -> tuple[int, str]:
        """(domain, full name) of the graph's control node, which identifies a robot."""
        return self.domain, self.control or f"{self.namespace}/control"


def announce(session: Session) -> Path:
    """Write the note. Raises OSError or ValueError, in a sentence, where that is not possible."""
    folder = own_folder()
    path = folder / f"{_stem(session)}.json"
    note = asdict(session) | {"started": started(session.pid)}
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(note))
    unfinished.replace(path)  # no reader sees half of it
    return path


def withdraw(control: str = "") -> None:
    """Remove this process's note, or that of one of its control nodes."""
    session = Session(os.getpid(), 0, control=control)
    try:
        (_folder() / f"{_stem(session)}.json").unlink(missing_ok=True)
    except OSError:
        return  # a note of a process that has ended does not count


def running() -> tuple[Session, ...]:
    """The graphs that announced themselves and whose process still lives."""
    return read()[0]


def read() -> tuple[tuple[Session, ...], tuple[str, ...]]:
    """(notes of processes that live, a sentence for each reason why there may be more)."""
    try:
        folder = _folder()
        _require_own(folder)
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return (), ()
    except (OSError, ValueError) as error:
        return (), (f"notes of running robots cannot be read: {error}",)
    sessions, bad = [], []
    for path in paths:
        try:
            session = _read_note(path)
        except FileNotFoundError:
            continue  # it ended just now
        except (OSError, ValueError) as error:
            bad.append(one_line(error))
            continue
        if session is not None:
            sessions.append(session)
    many = f"{len(bad)} notes of running robots cannot be used, the first: "
    told = (f"{many if len(bad) > 1 else ''}{bad[0]}; left out",) if bad else ()
    return tuple(sessions), told


def own_folder() -> Path:
    """The folder of the notes, made if it is not there. Raises OSError or ValueError if it is not ours alone."""
    folder = _folder()
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, exist_ok=True)
    _require_own(folder)
    return folder


def line_of(session: Session) -> Path:
    """Path of the socket on which a control node takes requests from this machine."""
    return _folder() / f"{_stem(session)}.sock"


def started(pid: int) -> int | None:
    """When a process began, in ticks since boot, so that another of the same id is not taken for it."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else int(words[19])


def age_s() -> float:
    """How long this process has run, to a hundredth of a second; 0 where the system does not report it."""
    ticks = started(os.getpid())
    if ticks is None:
        return 0.0
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, since_boot_s - ticks / os.sysconf("SC_CLK_TCK"))


def namespace_of(text: str) -> str:
    """A ROS namespace as nodes take it, "/a/b", or "" for none; the leading slash may be left out.

    Raises ValueError for what ROS does not take as a name.
    """
    names = text.strip("/") if text.strip("/") or text in ("", "/") else text
    if not names:
        return ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*", names, re.ASCII):
        raise ValueError(
            f"namespace: got {text!r}, expected names of letters, digits and _, none beginning with"
            " a digit, separated by /, as in left or /cell_2/left"
        )
    return f"/{names}"


def _read_note(path: Path) -> Session | None:
    """None if its process has ended. Raises ValueError with path for what is no note of this user."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        raise ValueError(f"{path}: got something that is not a file of this user")
    note = parse_json(read_bytes(path, LIMIT), path)
    try:
        began = note.pop("started")
        session = Session(**note)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a note of a running robot: {error}") from error
    return session if began is not None and began == started(session.pid) else None


def _require_own(folder: Path) -> None:
    for path in (folder.parent, folder):
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise ValueError(f"{path}: got something that is not a folder")
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise ValueError(f"{path}: another user may write there")


def _stem(session: Session) -> str:
    return f"{session.pid}{session.control.replace('/', '.')}"


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"vla_policy-{os.getuid()}" / "sessions"


def _short(value: object) -> str:
    return one_line(repr(value), 60)
