"""What a robot file says, against itself; every node refuses a file with an error among it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..embodiment import Embodiment
from .findings import ERROR, Finding, errors
from .inputs import check_cameras, check_frames, check_rates, check_state
from .joints import check_ranges, check_speeds
from .outputs import check_grippers, check_joints, check_own, check_topics
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
    check_own,
    check_joints,
    check_grippers,
    check_conventions,
)


def check_sheet(sheet: Sheet) -> tuple[Finding, ...]:
    """What is wrong with a robot that has been read, the gravest first."""
    found = [finding for check in CHECKS for finding in check(sheet)]
    return tuple(sorted(found, key=lambda finding: finding.level != ERROR))


def load_sound(path: Path) -> Embodiment:
    """The robot of a file. Raises ValueError with everything in it that cannot be meant."""
    sheet = read_sheet(path)
    if wrong := errors(check_sheet(sheet)):
        raise ValueError("\n".join(map(str, wrong)))
    return sheet.robot
