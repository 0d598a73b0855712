"""Inverse kinematics of the arm by damped least squares within the joint limits. No dynamics."""

from __future__ import annotations

import numpy as np

from vla_policy.sim.world.mujoco_import import mujoco

_DAMPING = 0.02
_POSTURE_GAIN = 0.02
_MAX_STEP_RAD = 0.25
_REST_RAD = np.array([0.0, -0.4, 0.7, 0.0, 1.2, 0.0])


class ArmKinematics:
    """Solves for the six arm joints of a model, on its own MjData."""

    def __init__(self, model: mujoco.MjModel, joint_ids: np.ndarray, site_id: int) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._qpos = model.jnt_qposadr[joint_ids]
        self._dofs = model.jnt_dofadr[joint_ids]
        self._lower, self._upper = model.jnt_range[joint_ids].T + np.array([[0.01], [-0.01]])
        self._site = site_id
        self._jacobian = np.zeros((6, model.nv))

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """float64[7] tool pose (x y z qx qy qz qw, base frame) at joints float64[6] rad."""
        self._move(joints)
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, self._data.site_xmat[self._site])
        return np.concatenate([self._data.site_xpos[self._site], quat[[1, 2, 3, 0]]])

    def solve(self, pose: np.ndarray, start: np.ndarray, *, iterations: int = 4) -> np.ndarray:
        """float64[6] rad: joints that bring the tool to pose, or as close as the limits allow.

        pose: float64[7] x y z qx qy qz qw.  start: float64[6] rad, start of the search.
        Outside the reach the result saturates; it never leaves the joint limits.
        """
        joints: np.ndarray = np.clip(np.asarray(start, float), self._lower, self._upper)
        for _ in range(iterations):
            self._move(joints)
            error = self._error(pose)
            if np.linalg.norm(error) < 1e-6:
                break
            joints = self._improve(joints, error)
        return joints

    def _move(self, joints: np.ndarray) -> None:
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)

    def _error(self, pose: np.ndarray) -> np.ndarray:
        here, turn, difference = np.empty(4), np.empty(4), np.empty(3)
        mujoco.mju_mat2Quat(here, self._data.site_xmat[self._site])
        mujoco.mju_negQuat(here, here)
        mujoco.mju_mulQuat(turn, pose[[6, 3, 4, 5]], here)
        mujoco.mju_quat2Vel(difference, turn, 1.0)
        return np.concatenate([pose[:3] - self._data.site_xpos[self._site], difference])

    def _improve(self, joints: np.ndarray, error: np.ndarray) -> np.ndarray:
        mujoco.mj_jacSite(
            self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site
        )
        jacobian = self._jacobian[:, self._dofs]
        square = jacobian @ jacobian.T
        # Damp in proportion to the error: exact near the goal, stable where it is unreachable.
        damping = (_DAMPING**2) * min(1.0, float(error @ error) * 400 + 1e-4)
        inverse = np.linalg.solve(square + damping * np.eye(6), np.column_stack([error, jacobian]))
        step = jacobian.T @ inverse[:, 0]
        null = np.eye(6) - jacobian.T @ inverse[:, 1:]
        step += null @ (_POSTURE_GAIN * (_REST_RAD - joints))
        step *= min(1.0, _MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-9))
        improved: np.ndarray = np.clip(joints + step, self._lower, self._upper)
        return improved
