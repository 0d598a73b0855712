"""All findings about a robot file that need no robot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vla_policy.check.robot_model import check_model
from vla_policy.embodiment.consistency import check_consistency
from vla_policy.embodiment.embodiment_file import EmbodimentFile, read_embodiment_file
from vla_policy.embodiment.findings import ERROR, Finding, warning
from vla_policy.execution.history import KEEP_NS
from vla_policy.parsing.fields import Refused
from vla_policy.timing import s_from_ns


def check_embodiment(
    name_or_path: str | Path, *, model: Path | None = None
) -> tuple[Finding, ...]:
    """Findings about a robot file, the most severe first; may be empty.

    model: URDF or MJCF to compare with; without it the one named in the file, if any.
    A file that cannot be parsed gives the parser's first error.
    Raises ValueError for a name or file that does not exist.
    """
    try:
        sheet = read_embodiment_file(name_or_path)
    except Refused as refused:
        change = "The rest of the file is looked at when this is right"
        return (Finding(ERROR, refused.where, "", refused.says, change),)
    found = [*check_consistency(sheet), *check_references(sheet), *check_model(sheet, model)]
    return tuple(sorted(found, key=lambda finding: finding.level != ERROR))


def check_references(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Relative rows, if a chunk may be older than the robot's recorded positions."""
    relative = [group.name for group in sheet.robot.actions if group.reference != "absolute"]
    kept_s, allowed_s = s_from_ns(KEEP_NS), sheet.robot.limits.max_chunk_age_s
    if relative and allowed_s > kept_s:
        yield warning(
            sheet.at("limits", "max_chunk_age_s"),
            f"a chunk may be {allowed_s:g} s old, but where the robot was is remembered for {kept_s:g} s, and the"
            f" rows of {', '.join(map(repr, relative))} start from there: an older chunk is refused (no_position)",
            f"At most {kept_s:g} s",
        )
