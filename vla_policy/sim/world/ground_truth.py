"""The ground truth of the simulation, in the robot's base frame, metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.sim.scenes.scene import Scene


@dataclass(frozen=True, slots=True)
class Tool:
    """One arm's tool. held: both fingers touch the object and nothing else supports it."""

    xyz: np.ndarray
    gripper: float
    held: tuple[bool, ...]
    touched: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """All current positions.

    scene: in the current base frame.
    object_xyz: float64[n, 3] centres.  object_speed: float64[n] m/s.  tools: in the arms' order.
    room_xyz: float64[n, 3] the centres in the room frame, which stays when the base moves.
    """

    scene: Scene
    time_ns: int
    object_xyz: np.ndarray
    object_speed: np.ndarray
    tools: tuple[Tool, ...]
    room_xyz: np.ndarray

    @property
    def held(self) -> tuple[bool, ...]:
        """For each object, whether some arm holds it."""
        return tuple(any(each) for each in zip(*(t.held for t in self.tools), strict=True))

    @property
    def touched(self) -> tuple[bool, ...]:
        return tuple(any(each) for each in zip(*(t.touched for t in self.tools), strict=True))
