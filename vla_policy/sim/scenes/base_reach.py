"""Where a base has to stand to work on an object, and how it drives there. Plain geometry.

The arm's working zone is part of a ring in front of the base: distance and bearing. It is narrower
while the arm waits than while it works, so that the base does not start and stop.
"""

from __future__ import annotations

import numpy as np

BASE_RADIUS_M = 0.14
SPEED_M_S, SPEED_RAD_S = 0.28, 0.75
STAND_M, STAND_RAD = (0.24, 0.42), 0.15
WORK_M, WORK_RAD = (0.19, 0.48), 0.50
_AIM_M = 0.36
_GAIN, _TURN_GAIN = 2.0, 2.0
_TURN_FIRST_RAD = 0.35  # above this bearing it only turns


def in_zone(xy: np.ndarray, *, working: bool) -> bool:
    """Whether the arm can work at xy float64[2] of the base frame from the base's position."""
    lower, upper = WORK_M if working else STAND_M
    distance, bearing = _polar(xy)
    return bool(
        lower <= distance <= upper and abs(bearing) <= (WORK_RAD if working else STAND_RAD)
    )


def velocity_towards(xy: np.ndarray) -> tuple[float, float]:
    """m/s and rad/s that bring xy float64[2] of the base frame into the zone."""
    distance, bearing = _polar(xy)
    turn = float(np.clip(_TURN_GAIN * bearing, -SPEED_RAD_S, SPEED_RAD_S))
    ahead = float(np.clip(_GAIN * (distance - _AIM_M), -SPEED_M_S / 2, SPEED_M_S))
    if STAND_M[0] <= distance <= STAND_M[1]:
        ahead = 0.0
    return ahead * float(np.clip(1 - abs(bearing) / _TURN_FIRST_RAD, 0.0, 1.0)), turn


def stand_at(base: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """float64[3] x y yaw where a base at float64[3] approximately stops to work at xy."""
    away = xy - base[:2]
    distance = float(np.linalg.norm(away))
    ahead = max(0.0, distance - STAND_M[1] + 0.03)
    yaw = float(np.arctan2(away[1], away[0]))
    if in_zone(_turned(away, -base[2]), working=False):
        return base.copy()
    return np.array([*(base[:2] + away / distance * ahead), yaw])


def _polar(xy: np.ndarray) -> tuple[float, float]:
    return float(np.hypot(xy[0], xy[1])), float(np.arctan2(xy[1], xy[0]))


def _turned(xy: np.ndarray, angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([c * xy[0] - s * xy[1], s * xy[0] + c * xy[1]])
