"""The parameters of the task node; all but autostart act at once."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.ros.process.params import LIVE, param
from vla_policy.runtime.task import Timeouts


@dataclass(frozen=True, slots=True)
class TaskParams:
    """timeout_s holds for runs that start later, the other times for the present run too."""

    timeout_s: float = param(
        30.0, "time limit of a run that states none", low=0.1, high=3600.0, changes=LIVE
    )
    first_chunk_s: float = param(
        10.0, "wait for the first chunk", low=0.1, high=600.0, changes=LIVE
    )
    chunk_gap_s: float = param(
        3.0,
        "longest silence of the policy, and hold for want of it",
        low=0.1,
        high=60.0,
        changes=LIVE,
    )
    hold_s: float = param(3.0, "longest hold of the robot", low=0.1, high=60.0, changes=LIVE)
    status_s: float = param(
        2.0, "longest silence of the control node", low=0.5, high=60.0, changes=LIVE
    )
    embodiment: str = param("", "robot that is named in reports, by name or path")
    autostart: bool = param(True, "configure and activate by itself")


def bounds_of(params: TaskParams) -> Timeouts:
    """The bounds of silence among the parameters."""
    return Timeouts(params.first_chunk_s, params.chunk_gap_s, params.hold_s, params.status_s)
