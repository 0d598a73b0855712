"""Control mode of the robot: autonomous, teleoperated or paused.

The mode changes only on request. If the operator's device goes silent, the arm stays where it is:
control never passes to the policy, or away from it, automatically.
"""

from __future__ import annotations

from vla_policy.types import Reason

AUTONOMOUS, PAUSED, TELEOPERATED = "autonomous", "paused", "teleoperated"
MODES = (AUTONOMOUS, PAUSED, TELEOPERATED)
POLICY, TELEOP = "policy", "teleop"

_SOURCES = {AUTONOMOUS: POLICY, PAUSED: "", TELEOPERATED: TELEOP}
_IDLE = {
    AUTONOMOUS: Reason(
        "no_chunk", "there is no plan to follow: the policy is idle or its plan ran out"
    ),
    PAUSED: Reason("paused", "paused: the robot waits to be taken over or handed back"),
    TELEOPERATED: Reason(
        "no_teleop", "teleoperated, and nothing comes from the operator: the robot waits"
    ),
}


def source_of(mode: str) -> str:
    """Whose chunks are executed in a mode: POLICY, TELEOP, or '' for neither."""
    return _SOURCES[mode]


def idle(mode: str) -> Reason:
    """Why the robot holds in a mode while there is no plan."""
    return _IDLE[mode]


def refuse_mode(mode: str) -> str | None:
    """Why mode is invalid, one sentence; None if it is valid."""
    if mode in MODES:
        return None
    return f"mode: got {mode!r}, expected {', '.join(MODES[:-1])} or {MODES[-1]}"


def not_in_control(mode: str, source: str, sequence: int) -> Reason | None:
    """Why a source's chunk is refused in a mode; None if the source is in control."""
    if source == source_of(mode):
        return None
    return Reason("chunk_mode", f"chunk {sequence} is of the {source}, and the robot is {mode}")
