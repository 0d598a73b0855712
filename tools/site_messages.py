"""Every message that the software has for people, read from its sources: no ROS, no imports of the package.

Reasons with codes, findings of the checks, notes of the doctor, verdicts on takes, the sentences of errors, lines of logs that something
is wrong, answers of services, refusals, and sentences of the page. `page()` is the list of them all, each with the heading of
docs/troubleshooting.md that it belongs to; test/test_troubleshooting.py holds that page against what is found here.
"""

import re
from functools import cache
from pathlib import Path

from message_reader import HOLE, PACKAGE, Message, messages_of, messages_of_page

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "troubleshooting.md"
CODE = re.compile(r"(`[^`]*`)")
# Where in docs/troubleshooting.md the messages of a file are explained; the longest beginning that fits counts.
AREAS = {
    "__init__": "installation",
    "check/": "robot-files-and-checkpoints",
    "check/doctor/": "installation",
    "check/streams": "cameras-and-topics",
    "check/topic": "cameras-and-topics",
    "checkpoint/": "robot-files-and-checkpoints",
    "cli": "installation",
    "commands/": "installation",
    "commands/data": "recording-and-data",
    "commands/record": "recording-and-data",
    "commands/serve": "serving",
    "commands/train": "training",
    "data/": "recording-and-data",
    "embodiment/": "robot-files-and-checkpoints",
    "evaluate/": "simulation-and-evaluation",
    "execution/": "motion",
    "families/": "the-policy",
    "formats/": "robot-files-and-checkpoints",
    "geometry/": "motion",
    "models/": "the-policy",
    "parsing/": "robot-files-and-checkpoints",
    "paths": "installation",
    "planners/": "the-policy",
    "policy": "the-policy",
    "remote/": "serving",
    "ros/": "motion",
    "ros/bringup/": "installation",
    "ros/inputs/": "cameras-and-topics",
    "ros/messages/": "cameras-and-topics",
    "ros/nodes/expert": "simulation-and-evaluation",
    "ros/nodes/mock": "simulation-and-evaluation",
    "ros/nodes/policy": "the-policy",
    "ros/nodes/recorder": "recording-and-data",
    "ros/nodes/sim": "simulation-and-evaluation",
    "ros/process/": "installation",
    "ros/simulation/": "simulation-and-evaluation",
    "runtime/": "motion",
    "runtime/inference": "the-policy",
    "runtime/observation": "cameras-and-topics",
    "safety/": "motion",
    "sim/": "simulation-and-evaluation",
    "teleop/": "teleoperation",
    "timing": "motion",
    "train/": "training",
    "types": "motion",
    "web/": "motion",
}
KINDS = frozenset(("reason", "finding", "data", "note", "error", "log", "answer", "page"))
OTHERS = {"tools/bootstrap.py": "installation"}  # files beside the package that speak to people


def area(where: str) -> str:
    """The anchor for a file, a path below vla_policy/. Raises ValueError for one that has none."""
    if where in OTHERS:
        return OTHERS[where]
    fits = [start for start in AREAS if where.startswith(start)]
    if not fits:
        raise ValueError(
            f"{where}: no heading of docs/troubleshooting.md in AREAS of tools/site_messages.py"
        )
    return AREAS[max(fits, key=len)]


def collect(kinds: "frozenset[str]" = KINDS) -> list[Message]:
    """All messages of some kinds, in order of files."""
    return [message for message in _everything() if message.kind in kinds]


@cache
def _everything() -> tuple[Message, ...]:
    python = [*sorted(PACKAGE.rglob("*.py")), *(ROOT / name for name in OTHERS)]
    found = [m for path in python for m in messages_of(path.read_text(), _where(path))]
    for path in sorted((PACKAGE / "web").glob("*.js")):
        found += messages_of_page(path.read_text(), _where(path))
    return tuple(found)


def _where(path: Path) -> str:
    base = PACKAGE if path.is_relative_to(PACKAGE) else ROOT
    return path.relative_to(base).as_posix()


def text(words: str) -> str:
    """Words as Markdown on one line: what would be markup outside of `code` is escaped."""
    parts = CODE.split(" ".join(words.split()))
    escaped = [p if p.startswith("`") else re.sub(r"([*_\[\]<>])", r"\\\1", p) for p in parts]
    return "".join(escaped).replace("|", "\\|")


def page() -> str:
    """The list of all messages, as Markdown, by heading of the guide and by file."""
    lines = ["# Everything that is said", "", "Each message of the software, read from its sources; `…` stands for a value. "
             "The heading leads to what to do. Use the search of this site, or of the browser."]  # fmt: skip
    by_area: dict[str, list[Message]] = {}
    for message in collect():
        by_area.setdefault(area(message.where), []).append(message)
    for anchor in dict.fromkeys(AREAS.values()):
        title = anchor.replace("-", " ").capitalize()
        lines += [
            "",
            f"## {title}",
            "",
            f"[What to do](../troubleshooting.md#{anchor})",
            "",
            "| code | message | it says what to do |",
            "|---|---|---|",
        ]
        rows = {
            _row(m, says)
            for m in by_area.get(anchor, ())
            for says in m.says or ("",)
            if says.strip(f" {HOLE}") or m.codes
        }
        lines += sorted(rows)
    return "\n".join(lines) + "\n"


def _row(message: Message, says: str) -> str:
    codes = ", ".join(f"`{c}`" for c in message.codes)
    return f"| {codes} | {text(says)} | {text(' / '.join(message.change))} |"
