"""Which nodes a robot needs and how they are started: as processes or by launch files."""

from vla_policy.ros.bringup.launch import bringup

__all__ = ["bringup"]
