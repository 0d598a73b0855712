"""The parameters of the task node; all but autostart act at once."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.ros.process.params import LIVE, param
from vla_policy.runtime.long_task import LongBounds
from vla_policy.runtime.planning import NONE, PLANNERS
from vla_policy.runtime.task import Timeouts


@dataclass(frozen=True, slots=True)
class TaskParams:
    """timeout_s, long_timeout_s and planner hold for runs that start later, the others for the present run too."""

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
    planner: str = param(
        NONE, f"who splits long instructions, as of the policy node: {PLANNERS}", changes=LIVE
    )
    long_timeout_s: float = param(
        300.0, "time limit of a long task that states none", low=1.0, high=7200.0, changes=LIVE
    )
    subtask_s: float = param(
        20.0, "time limit of each of its sub-tasks", low=1.0, high=3600.0, changes=LIVE
    )
    subtasks: int = param(12, "most sub-tasks of a long task", low=1, high=1000, changes=LIVE)
    tries: int = param(3, "how often the same sub-task is begun", low=1, high=100, changes=LIVE)
    think_s: float = param(
        20.0, "longest wait for the planner's answer", low=0.1, high=600.0, changes=LIVE
    )
    embodiment: str = param("", "robot that is named in reports, by name or path")
    autostart: bool = param(True, "configure and activate by itself")


def bounds_of(params: TaskParams) -> Timeouts:
    """The bounds of silence among the parameters."""
    return Timeouts(params.first_chunk_s, params.chunk_gap_s, params.hold_s, params.status_s)


def long_bounds_of(params: TaskParams) -> LongBounds:
    """The bounds of long tasks among the parameters."""
    return LongBounds(params.subtasks, params.tries, params.subtask_s, params.think_s)
