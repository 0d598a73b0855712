"""Cameras that showed the same image while the robot moved, judged by how far it usually goes in this set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vla_policy.data.checks.columns import spans
from vla_policy.data.checks.episode_data import EpisodeReport, StillRun
from vla_policy.data.checks.finding import DataFinding, doubt, fault
from vla_policy.data.checks.pictures import SAME
from vla_policy.types import Array

MOVED = 0.05  # of a column's range in the set
USED = 0.02  # of the widest column's range: narrower ones are noise around one value
WHOLE = 0.95  # of an episode, in which a camera stood still
CHANGE = "Delete the episode with `vla data edit --delete`, and see to the camera, its cable and its driver"


def check_frozen(reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    """Each stretch of equal images that is no stretch of rest."""
    span = spans(reports)
    cameras = dict.fromkeys(c for r in reports for c in r.cameras)
    for camera in cameras:
        seen = [r for r in reports if camera in r.cameras]
        static = [r for r in seen if _whole(r, camera)]
        moving = [r for r in static if any(_moved(s, span) for s in r.still if s.camera == camera)]
        if len(static) == len(seen):
            if moving:
                yield doubt(
                    "frozen",
                    f"camera {camera} shows one and the same image in every episode while the robot moves",
                    "See that the camera works and looks at the robot",
                )
            continue
        usual = float(np.median([r.cameras[camera].changes for r in seen if r not in static]))
        for report in seen:
            for still in report.still:
                if still.camera != camera or still.flagged or not _moved(still, span):
                    continue
                if usual > 2 * SAME or report in static:
                    yield _frozen(report, still)


def _frozen(report: EpisodeReport, still: StillRun) -> DataFinding:
    return fault(
        "frozen",
        f"camera {still.camera} repeats one image in frames {still.first - 1} to {still.last} while the robot moves",
        CHANGE,
        episode=report.episode,
        frame=still.first,
        frames=still.last - still.first + 1,
    )


def _whole(report: EpisodeReport, camera: str) -> bool:
    frames = report.cameras[camera].frames
    return any(s.camera == camera and s.last - s.first + 2 >= WHOLE * frames for s in report.still)


def _moved(still: StillRun, span: Mapping[str, Array]) -> bool:
    for feature, far in still.moved.items():
        wide = span.get(feature)
        if wide is not None and wide.shape == far.shape:
            used = wide > USED * wide.max()
            if bool((far[used] > MOVED * wide[used]).any()):
                return True
    return False
