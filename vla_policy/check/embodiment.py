"""Everything that can be said about a robot file without the robot."""

from __future__ import annotations

from pathlib import Path

from vla_policy.check.robot_model import check_model
from vla_policy.embodiment.consistency import check_consistency
from vla_policy.embodiment.embodiment_file import read_embodiment_file
from vla_policy.embodiment.findings import ERROR, Finding
from vla_policy.parsing.fields import Refused


def check_embodiment(
    name_or_path: str | Path, *, model: Path | None = None
) -> tuple[Finding, ...]:
    """What is wrong with a robot file, the gravest first; empty if nothing is.

    model: URDF or MJCF to compare with; without it the one that the file names, if it does.
    A file that is not read at all gives the first thing that the reader refused.
    Raises ValueError for a name or file that is not there.
    """
    try:
        sheet = read_embodiment_file(name_or_path)
    except Refused as refused:
        change = "The rest of the file is looked at when this is right"
        return (Finding(ERROR, refused.where, "", refused.says, change),)
    found = [*check_consistency(sheet), *check_model(sheet, model)]
    return tuple(sorted(found, key=lambda finding: finding.level != ERROR))
