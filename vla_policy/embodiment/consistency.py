"""Consistency rules within one embodiment file; nodes refuse a file with an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vla_policy.embodiment.consistency_inputs import (
    check_cameras,
    check_frames,
    check_rates,
    check_state,
)
from vla_policy.embodiment.consistency_joints import check_ranges, check_speeds
from vla_policy.embodiment.consistency_outputs import (
    check_grippers,
    check_joints,
    check_own,
    check_topics,
)
from vla_policy.embodiment.consistency_shipped import check_conventions
from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import ERROR, Finding

# In the order of the keys in a file.
CHECKS: tuple[Callable[[EmbodimentFile], Iterator[Finding]], ...] = (
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


def check_consistency(sheet: EmbodimentFile) -> tuple[Finding, ...]:
    """The findings about a parsed robot, the most severe first."""
    found = [finding for check in CHECKS for finding in check(sheet)]
    return tuple(sorted(found, key=lambda finding: finding.level != ERROR))
