"""The parameters of the recorder node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.ros.process.params import CONFIGURE, LIVE, param


@dataclass(frozen=True, slots=True)
class RecorderParams:
    """joy_*: index of a button in sensor_msgs/Joy; -1 for none."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file", changes=CONFIGURE)
    folder: str = param("", "where takes are written: set/, bags/", changes=CONFIGURE)
    fps: int = param(
        0,
        "frames per second of the data set; 0: the robot's policy rate",
        low=0,
        high=240,
        changes=CONFIGURE,
    )
    task: str = param(
        "", "what is demonstrated, in words; empty: the instruction in force", changes=LIVE
    )
    max_duration_s: float = param(
        120.0, "longest take that states no other", low=1.0, high=3600.0, changes=LIVE
    )
    least_free_gb: float = param(
        2.0, "disk that must be left for a take to begin", low=0.0, high=1000.0, changes=CONFIGURE
    )
    queue_mb: int = param(
        512, "messages that may wait to be written, in MB", low=16, high=65536, changes=CONFIGURE
    )
    shadow: bool = param(False, "commands are recorded from below shadow/", changes=CONFIGURE)
    require_engaged: bool = param(
        True, "no take begins while nothing may be commanded", changes=LIVE
    )
    joy_start: int = param(
        7, "button: begin a take, end it, keep it", low=-1, high=31, changes=LIVE
    )
    joy_success: int = param(
        0, "button: keep the take as a success", low=-1, high=31, changes=LIVE
    )
    joy_failure: int = param(
        3, "button: keep the take as a failure", low=-1, high=31, changes=LIVE
    )
    joy_discard: int = param(2, "button: discard the take", low=-1, high=31, changes=LIVE)
    autostart: bool = param(True, "configure and activate by itself")
