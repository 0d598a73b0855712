"""The pose of a tool from the joints: forward kinematics of a URDF or MJCF by MuJoCo."""

from __future__ import annotations

import numpy as np

from vla_policy.embodiment.description import Embodiment
from vla_policy.parsing.files import one_line
from vla_policy.parsing.model_file import read_model_xml
from vla_policy.types import Array, required


class ForwardKinematics:
    """Poses of one body of the robot's model in its base frame.

    Raises ValueError if MuJoCo is missing, the file cannot be read, or it lacks a joint or body.
    """

    def __init__(self, robot: Embodiment, body: str) -> None:
        try:
            import mujoco
        except ModuleNotFoundError as error:
            raise ValueError(
                f"robot {robot.name!r}: forward kinematics needs MuJoCo; pip install mujoco"
            ) from error
        file = required(robot.model, f"robot {robot.name!r}: model").file
        try:
            read_model_xml(file)
            self._model = mujoco.MjModel.from_xml_path(str(file))
        except (ValueError, OSError) as error:
            says = one_line(error)
            raise ValueError(f"{file}: cannot be read as a URDF or MJCF: {says}") from error
        self._mujoco, self._data = mujoco, mujoco.MjData(self._model)
        kinds = mujoco.mjtObj
        joints = [self._id(kinds.mjOBJ_JOINT, "joint", name, file) for name in robot.joint_names]
        self._qpos = self._model.jnt_qposadr[joints]
        self._body = self._id(kinds.mjOBJ_BODY, "body", body, file)
        # The root link of a URDF is merged into the world.
        base = mujoco.mj_name2id(self._model, kinds.mjOBJ_BODY, robot.base_frame)
        self._base = max(base, 0)

    def pose(self, joints: Array) -> Array:
        """float64[7] x y z qx qy qz qw of the body at joints float64[j], rad or m."""
        mujoco, data = self._mujoco, self._data
        data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, data)
        turn, quaternion = np.empty(4), np.empty(4)
        mujoco.mju_negQuat(turn, data.xquat[self._base])
        mujoco.mju_mulQuat(quaternion, turn, data.xquat[self._body])
        position = np.empty(3)
        mujoco.mju_rotVecQuat(position, data.xpos[self._body] - data.xpos[self._base], turn)
        return np.concatenate((position, quaternion[[1, 2, 3, 0]]))

    def _id(self, kind: object, what: str, name: str, file: object) -> int:
        found: int = self._mujoco.mj_name2id(self._model, kind, name)
        if found < 0:
            count = self._model.njnt if what == "joint" else self._model.nbody
            known = [self._mujoco.mj_id2name(self._model, kind, i) for i in range(count)]
            raise ValueError(
                f"{file}: no {what} {name!r}; it has {', '.join(filter(None, known))}"
            )
        return found
