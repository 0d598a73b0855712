"""The parameters of the control node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.execution.schemes import SCHEMES
from vla_policy.ros.process.params import CONFIGURE, LIVE, param
from vla_policy.types import CHANGES


@dataclass(frozen=True, slots=True)
class ControlParams:
    """Parameters of the node; those of a configuration are read again on each configure.

    Only speed_share acts at once: scheme and instruction_change must be the policy node's, and the
    others decide where commands go.
    """

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file", changes=CONFIGURE)
    scheme: str = param(
        "receding",
        "how chunks follow each other, as of the policy node",
        choices=tuple(SCHEMES),
        changes=CONFIGURE,
    )
    instruction_change: str = param(
        "flush",
        "the plan of the instruction before: ends at once, or goes on",
        choices=CHANGES,
        changes=CONFIGURE,
    )
    shadow: bool = param(
        False, "commands go to topics below shadow/, none to a controller", changes=CONFIGURE
    )
    stand_in: str = param(
        "",
        "node that plays the robot: engage by itself while it is the only robot here",
        changes=CONFIGURE,
    )
    speed_share: float = param(
        1.0,
        "of the robot's speed limits that the guard lets through",
        low=0.05,
        high=1.0,
        changes=LIVE,
    )
    real_time_priority: int = param(
        10, "SCHED_FIFO priority, where the system permits it; 0: as any process", low=0, high=98
    )
    autostart: bool = param(True, "configure and activate by itself")
