"""Rejects commands meant for the previous scene: none of them may move the arm of the next one.

Setting a scene moves the arm elsewhere at once, which no real arm does, while commands for the old
position are still on their way, or still being sent for a moment. They would make the arm jump
back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_policy.types import Array

# A control node whose commands have no effect disengages within half a second; later ones start
# anew.
PAUSE_NS = 1_000_000_000
NEAR_M, NEAR_RAD = (
    0.03,
    0.3,
)  # distance from the arm's new position of a command that is accepted as new or harmless


@dataclass(frozen=True, slots=True)
class CommandStream:
    """The pose commands of one arm. Times are the simulation's, in ns.

    reset_ns: when the arm was last placed. home: float64[7], at which pose, xyz and xyzw in the
    base frame. heard_ns: arrival of the last command; None: none yet. held: commands were
    arriving when the arm was placed, and still do.
    """

    reset_ns: int
    home: Array
    heard_ns: int | None = None
    held: bool = False


def placed(before: CommandStream | None, home: Array, now_ns: int) -> CommandStream:
    """The stream after the arm has been placed at home."""
    heard_ns = None if before is None else before.heard_ns
    return CommandStream(now_ns, home, heard_ns, _goes_on(heard_ns, now_ns))


def hear_pose(
    stream: CommandStream, pose: Array, stamp_ns: int, now_ns: int
) -> tuple[CommandStream, str | None]:
    """The stream with one more command, and why the arm ignores it; None if it follows.

    pose: float64[7] as home. stamp_ns: of the command, 0 if it has none.
    """
    held = stream.held and _goes_on(stream.heard_ns, now_ns) and not _near(pose, stream.home)
    if 0 < stamp_ns <= stream.reset_ns:
        return replace(stream, heard_ns=now_ns), (
            f"stamped {(stream.reset_ns - stamp_ns) / 1e9:.3f} s before the arm was placed anew"
        )
    stream = replace(stream, heard_ns=now_ns, held=held)
    return stream, _HELD if held else None


def gripper_refusal(stream: CommandStream, now_ns: int) -> str | None:
    """Why the arm's gripper ignores a command now, which has no stamp; None if it follows."""
    return _HELD if stream.held and _goes_on(stream.heard_ns, now_ns) else None


def _goes_on(heard_ns: int | None, now_ns: int) -> bool:
    return heard_ns is not None and now_ns - heard_ns <= PAUSE_NS


def _near(pose: Array, home: Array) -> bool:
    turn_rad = 2.0 * np.arccos(min(1.0, abs(float(pose[3:] @ home[3:]))))
    return bool(np.linalg.norm(pose[:3] - home[:3]) <= NEAR_M and turn_rad <= NEAR_RAD)


_HELD = (
    "commands for where the arm was before it was placed anew go on; it follows one that begins"
    f" where it is, or any after a pause of {PAUSE_NS / 1e9:g} s"
)
