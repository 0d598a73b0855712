"""The simulated mobile base: velocities in, a frame out. Without a base: a fixed frame."""

from __future__ import annotations

import numpy as np

from vla_policy.sim.world.base_model import BASE, BASE_JOINTS
from vla_policy.sim.world.mujoco_import import mujoco

WATCHDOG_NS = 500_000_000
SPEED_M_S, SPEED_RAD_S = 0.30, 0.80
_ACCELERATION = np.array([1.2, 4.0])  # m/s^2, rad/s^2
_MOST = np.array([SPEED_M_S, SPEED_RAD_S])


class BaseControl:
    """Drives a differential base like its motor controller: limited, stopped without commands."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._data = data
        self._body = model.body(BASE).id
        self._qpos = np.array([model.joint(name).qposadr[0] for name in BASE_JOINTS])
        self._actuators = np.array([model.actuator(name).id for name in BASE_JOINTS])
        gain = model.actuator_gainprm[self._actuators, 0]
        self._lead_s = -model.actuator_biasprm[self._actuators, 2] / gain
        self.place(np.zeros(3))

    def place(self, pose: np.ndarray) -> None:
        """Set x, y, yaw float64[3], without physics."""
        self._data.qpos[self._qpos] = self._data.ctrl[self._actuators] = pose
        self._sent = np.array(pose, float)
        self._wanted, self._speed = np.zeros(2), np.zeros(2)
        self._told_ns: int | None = None

    def copy_from(self, other: BaseControl) -> None:
        """Copy the setpoints of another base control."""
        self._sent, self._wanted = other._sent.copy(), other._wanted.copy()
        self._speed, self._told_ns = other._speed.copy(), other._told_ns

    def pursued(self) -> np.ndarray:
        """float64[9], the setpoints, for pursue()."""
        told_ns = self._told_ns
        flags = [float(told_ns is not None), float(told_ns or 0)]
        return np.concatenate([self._sent, self._wanted, self._speed, flags])

    def pursue(self, values: np.ndarray) -> np.ndarray:
        """Take the setpoints at the start of values, from pursued(); return the rest."""
        self._sent, self._wanted = values[:3].copy(), values[3:5].copy()
        self._speed = values[5:7].copy()
        self._told_ns = int(values[8]) if values[7] else None
        return values[9:]

    def command(self, vx: float, wz: float, now_ns: int) -> None:
        """Drive at m/s ahead and rad/s to the left, within the limits.

        Raises ValueError if not finite.
        """
        if not np.isfinite([vx, wz]).all():
            raise ValueError(f"drive: got {vx}, {wz}, expected two finite numbers")
        self._wanted = np.clip([vx, wz], -_MOST, _MOST)
        self._told_ns = now_ns

    def send(self, now_ns: int, seconds: float) -> None:
        """Advance the setpoint by seconds. No command for WATCHDOG_NS: decelerate to zero."""
        fresh = self._told_ns is not None and now_ns - self._told_ns <= WATCHDOG_NS
        wanted = self._wanted if fresh else np.zeros(2)
        most = _ACCELERATION * seconds
        self._speed = self._speed + np.clip(wanted - self._speed, -most, most)
        ahead, turn = self._speed
        yaw = self._sent[2] + turn * seconds / 2
        rate = np.array([ahead * np.cos(yaw), ahead * np.sin(yaw), turn])
        self._sent = self._sent + rate * seconds
        self._data.ctrl[self._actuators] = self._sent + self._lead_s * rate

    @property
    def pose(self) -> np.ndarray:
        """float64[3] measured x, y, yaw in the room, the frame in which the scene was drawn."""
        axes = self._data.xmat[self._body]
        return np.array([*self._data.xpos[self._body, :2], np.arctan2(axes[3], axes[0])])
