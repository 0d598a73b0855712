"""The parameters of the teleop node."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.ros.process.params import param


@dataclass(frozen=True, slots=True)
class TeleopParams:
    """All are read-only: another device is another node."""

    embodiment: str = param("vx300s", "robot that is driven, by name or path of its YAML file")
    device: str = param("gamepad", "device, by name in config/teleop or path of its YAML file")
    arm: str = param("", "action group that is driven, of a robot with several arms")
    rate_hz: float = param(30.0, "chunks per second", low=5.0, high=100.0)
