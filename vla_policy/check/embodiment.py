"""Everything that can be said about a robot file without the robot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..embodiment import Embodiment
from ..fields import Refused
from .findings import ERROR, Finding, errors
from .inputs import check_cameras, check_frames, check_rates, check_state
from .joints import check_ranges, check_speeds
from .model import check_model
from .outputs import check_grippers, check_joints, check_topics
from .sheet import Sheet, read_sheet
from .shipped import check_conventions

# In the order of the keys in a file.
CHECKS: tuple[Callable[[Sheet], Iterator[Finding]], ...] = (
    check_frames,
    check_rates,
    check_cameras,
    check_ranges,
    check_state,
    check_speeds,
    check_topics,
    check_joints,
    check_grippers,
    check_conventions,
)


def check_embodiment(
    name_or_path: str | Path, *, model: Path | None = None
) -> tuple[Finding, ...]:
    """What is wrong with a robot file, the gravest first; empty if nothing is.

    model: URDF or MJCF to compare with; without it the one that the file names, if it does.
    A file that is not read at all gives the first thing that the reader refused.
    """
    try:
        sheet = read_sheet(name_or_path)
    except Refused as refused:
        change = "The rest of the file is looked at when this is right"
        return (Finding(ERROR, refused.where, "", refused.says, change),)
    return check_sheet(sheet, model=model)


def check_sheet(sheet: Sheet, *, model: Path | None = None) -> tuple[Finding, ...]:
    """The same of a robot that has been read."""
    found = [finding for check in CHECKS for finding in check(sheet)]
    found += check_model(sheet, model)
    return tuple(sorted(dict.fromkeys(found), key=lambda f: f.level != ERROR))


def load_sound(name_or_path: str | Path) -> tuple[Embodiment, tuple[Finding, ...]]:
    """The robot, and what may be meant. Raises ValueError with all that cannot be."""
    sheet = read_sheet(name_or_path)
    found = check_sheet(sheet)
    if wrong := errors(found):
        raise ValueError("\n".join(map(str, wrong)))
    return sheet.robot, found
