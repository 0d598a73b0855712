"""Cameras that repeated one image while the robot moved, relative to its usual motion in this set.

A view may be static: the other arm moves, or a bare floor passes by. A frozen camera is
recognised by the jump with which it continues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vla_policy.data.checks.columns import spans
from vla_policy.data.checks.episode_data import EpisodeReport, StillRun
from vla_policy.data.checks.finding import DataFinding, doubt, fault
from vla_policy.types import Array

MOVED = 0.05  # of a column's range in the set
USED = 0.02  # of the widest column's range: narrower ones are noise around one value
WHOLE = 0.95  # of an episode, in which a camera repeated one image
OFTEN = 0.2  # of the episodes: above it the camera rather has a static view
# Jumps after a frozen image, in usual changes between images: above, a fault; below, a doubt or
# none.
JUMP, SMOOTH = 1.5, 0.5
SIDES = (("left", "right"), ("right", "left"))
CHANGE = "Delete the episode with `vla data edit --delete`, and see to the camera, its cable and its driver"
LOOK = "Look at it with `vla data view`: the camera stood still, or nothing moved in front of it"


def check_frozen(reports: Sequence[EpisodeReport]) -> Iterator[DataFinding]:
    """Each run of equal images that is neither a rest of the robot nor a static view."""
    span = spans(reports)
    for camera in dict.fromkeys(c for r in reports for c in r.cameras):
        seen = [r for r in reports if camera in r.cameras]
        suspect = [
            (r, run)
            for r in seen
            for run in r.still
            if run.camera == camera and not run.flagged and _moved(run, span, r.names)
        ]
        # Up to the end of the episode, so no later image shows what was missed.
        endless = [(r, run) for r, run in suspect if run.jump is None]
        if len(endless) > max(1, OFTEN * len(seen)) or len(seen) == len(endless):
            yield _often(camera, len(endless), len(seen))
        else:
            yield from (_endless(r, run) for r, run in endless)
        for report, run in suspect:
            if run.jump is not None and run.jump >= SMOOTH:
                yield _frozen(report, run, sure=run.jump >= JUMP)


def _often(camera: str, still: int, episodes: int) -> DataFinding:
    if still == episodes:
        says = (
            f"camera {camera} shows one and the same image in every episode while the robot moves"
        )
        return doubt("frozen", says, "See that the camera works and looks at the robot")
    says = f"camera {camera} stands still until the end of {still} of {episodes} episodes while the robot moves"
    return doubt("frozen", says, LOOK)


def _endless(report: EpisodeReport, run: StillRun) -> DataFinding:
    frames = report.cameras[run.camera].frames
    return _frozen(report, run, sure=run.last - run.first + 2 >= WHOLE * frames)


def _frozen(report: EpisodeReport, run: StillRun, *, sure: bool) -> DataFinding:
    make, change = (fault, CHANGE) if sure else (doubt, LOOK)
    return make(
        "frozen",
        f"camera {run.camera} repeats one image in frames {run.first - 1} to {run.last} while the robot moves",
        change,
        episode=report.episode,
        frame=run.first,
        frames=run.last - run.first + 1,
    )


def _moved(run: StillRun, span: Mapping[str, Array], names: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a column moved far meanwhile; a camera of one side ignores the other arm."""
    for feature, far in run.moved.items():
        wide = span.get(feature)
        if wide is None or wide.shape != far.shape:
            continue
        used = wide > USED * wide.max()
        said = names.get(feature, ())
        for own, other in SIDES:
            if own in run.camera and other not in run.camera:
                if not said and any(names.values()):
                    used[:] = False  # another feature determines the columns of this side
                used &= [i >= len(said) or other not in said[i] for i in range(len(used))]
        if bool((far[used] > MOVED * wide[used]).any()):
            return True
    return False
