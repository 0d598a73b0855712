"""One simulated arm: a Cartesian controller over its joint servos, and its measurements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_policy.sim.twin import Arm
from vla_policy.sim.world.arm_kinematics import ArmKinematics
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.robot_model import ARM_JOINTS, FINGER_CLOSED_M, FINGER_OPEN_M

JOINT_NAMES = (*ARM_JOINTS, "left_finger")
TOP_DOWN_XYZW = np.array([0.0, 0.7071067811865476, 0.0, 0.7071067811865476])
FINGER_RANGE_M = FINGER_OPEN_M - FINGER_CLOSED_M
_SEARCH_START_RAD = np.array([0.0, -0.5, 0.8, 0.0, 1.2, 0.0])


class ArmControl:
    """Solves for one arm's setpoints and reads its sensors. Poses are in the base frame."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, arm: Arm) -> None:
        self._model, self._data, self._base_xyz = model, data, arm.base_xyz
        joints = np.array([model.joint(f"{arm.model}/{name}").id for name in JOINT_NAMES])
        self._qpos = model.jnt_qposadr[joints]
        self._right_finger = model.joint(f"{arm.model}/right_finger").qposadr[0]
        self._actuators = np.array([model.actuator(arm.side + name).id for name in JOINT_NAMES])
        self.site = model.site(f"{arm.side}tool").id
        self.pads = tuple(model.geom(f"{arm.side}{s}_pad").id for s in ("left", "right"))
        self._arm = ArmKinematics(model, joints[:6], self.site)
        servos = self._actuators[:6]
        gain, bias = model.actuator_gainprm[servos, 0], model.actuator_biasprm[servos, 2]
        self._lead_s = -bias / gain

    def place(self, pose: np.ndarray, gripper: float) -> None:
        """Set pose float64[7] and gripper 0..1 without physics; the caller resets velocities."""
        start = _SEARCH_START_RAD.copy()
        start[0] = start[5] = np.arctan2(pose[1] - self._base_xyz[1], pose[0] - self._base_xyz[0])
        joints = self._arm.solve(pose, start, iterations=30)
        finger = FINGER_CLOSED_M + gripper * FINGER_RANGE_M
        self._data.qpos[self._qpos] = [*joints, finger]
        self._data.qpos[self._right_finger] = -finger
        self._sent = self._data.qpos[self._qpos].copy()
        self._goal = self._sent.copy()
        self._target: np.ndarray | None = None
        self._gripper = gripper
        self._data.ctrl[self._actuators] = self._sent

    def copy_from(self, other: ArmControl) -> None:
        """Copy the setpoints of another arm control."""
        self._sent, self._goal = other._sent.copy(), other._goal.copy()
        self._target, self._gripper = other._target, other._gripper

    def pursued(self) -> np.ndarray:
        """float64[23], the setpoints, for pursue()."""
        target = np.zeros(7) if self._target is None else self._target
        flags = [float(self._target is not None), self._gripper]
        return np.concatenate([self._sent, self._goal, target, flags])

    def pursue(self, values: np.ndarray) -> np.ndarray:
        """Take the setpoints at the start of values, from pursued(); return the rest."""
        self._sent, self._goal = values[:7].copy(), values[7:14].copy()
        self._target = values[14:21].copy() if values[21] else None
        self._gripper = float(values[22])
        return values[23:]

    def command(self, pose: np.ndarray | None, gripper: float | None) -> None:
        """Move to pose float64[7] and gripper 0..1 from the next step on; None: unchanged."""
        pose = None if pose is None else np.asarray(pose, float)
        if pose is not None and (pose.shape != (7,) or not np.isfinite(pose).all()):
            raise ValueError(f"command: got pose {pose}, expected 7 finite numbers")
        if gripper is not None and not np.isfinite(gripper):
            raise ValueError(f"command: got gripper {gripper}, expected a finite number")
        if pose is not None:
            turn = pose[3:] / max(np.linalg.norm(pose[3:]), 1e-9)
            self._target = np.concatenate([pose[:3], turn])
        if gripper is not None:
            self._gripper = float(np.clip(gripper, 0.0, 1.0))

    def plan(self, seconds: float) -> Callable[[float], None]:
        """Solve for the setpoint; the returned function commands a share 0..1 of the motion."""
        previous = self._sent
        if self._target is not None:
            self._goal[:6] = self._arm.solve(self._target, previous[:6])
        self._goal[6] = FINGER_CLOSED_M + self._gripper * FINGER_RANGE_M
        goal = self._goal
        speed = (goal[:6] - previous[:6]) / seconds

        def send(part: float) -> None:
            mixed = previous + (goal - previous) * part
            # The servo's damping makes it lag by lead_s seconds; command that much ahead.
            mixed[:6] += self._lead_s * speed
            self._data.ctrl[self._actuators] = mixed

        self._sent = goal.copy()
        return send

    @property
    def joints(self) -> np.ndarray:
        """float64[7] measured, JOINT_NAMES order: six in rad, the left finger in m."""
        measured: np.ndarray = self._data.qpos[self._qpos]
        return measured

    @property
    def gripper(self) -> float:
        """Measured opening, 0 closed to 1 open."""
        finger = (self._data.qpos[self._qpos[6]] - self._data.qpos[self._right_finger]) / 2
        return float(np.clip((finger - FINGER_CLOSED_M) / FINGER_RANGE_M, 0.0, 1.0))
