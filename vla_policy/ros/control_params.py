"""The parameters of the control node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.execution.schemes import SCHEMES
from vla_policy.ros.params import param
from vla_policy.types import CHANGES


@dataclass(frozen=True, slots=True)
class ControlParams:
    """Parameters of the node; read again on each configure."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file")
    scheme: str = param("receding", "how chunks follow each other", choices=tuple(SCHEMES))
    instruction_change: str = param(
        "flush", "the plan of the instruction before: ends at once, or goes on", choices=CHANGES
    )
    shadow: bool = param(False, "commands go to topics below shadow/, none to a controller")
    stand_in: str = param(
        "", "node that plays the robot: engage by itself while it is the only robot here"
    )
    real_time_priority: int = param(
        10, "SCHED_FIFO priority, where the system permits it; 0: as any process", low=0, high=98
    )
    autostart: bool = param(True, "configure and activate by itself")
