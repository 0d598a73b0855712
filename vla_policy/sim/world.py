"""Physics, cameras and a Cartesian controller: what stands in for the robot cell.

Time is integer nanoseconds of the simulation and moves only in step().
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.sim.kinematics import ArmKinematics
from vla_policy.sim.mj import mujoco
from vla_policy.sim.model import (
    ARM_JOINTS,
    FINGER_CLOSED_M,
    FINGER_OPEN_M,
    OBJECT_COUNT,
    PHYSICS_DT_S,
    apply_scene,
    build_model,
)
from vla_policy.sim.render import choose_renderer, make_renderer, project
from vla_policy.sim.scene import Scene
from vla_policy.types import RobotState, readonly

CAMERAS = ("front", "wrist", "overview")
JOINT_NAMES = (*ARM_JOINTS, "left_finger")
TOP_DOWN_XYZW = np.array([0.0, 0.7071067811865476, 0.0, 0.7071067811865476])
_FINGER_RANGE_M = FINGER_OPEN_M - FINGER_CLOSED_M
_SEARCH_START_RAD = np.array([0.0, -0.5, 0.8, 0.0, 1.2, 0.0])


@dataclass(frozen=True, slots=True)
class Truth:
    """What only the simulation knows. Positions in base_link, metres.

    object_xyz: float64[n, 3] centres.  object_speed: float64[n] m/s.
    held: both fingers touch the object and nothing else carries it.
    """

    scene: Scene
    time_ns: int
    object_xyz: np.ndarray
    object_speed: np.ndarray
    held: tuple[bool, ...]
    touched: tuple[bool, ...]
    tool_xyz: np.ndarray
    gripper: float


class World:
    """One simulated robot cell. reset() before anything else."""

    def __init__(self, *, renderer: str = "auto", control_hz: int = 50) -> None:
        steps = 1.0 / control_hz / PHYSICS_DT_S
        if not 1 <= round(steps) or abs(steps - round(steps)) > 1e-9:
            raise ValueError(
                f"control_hz: got {control_hz}, expected a divisor of {1 / PHYSICS_DT_S:.0f} Hz"
            )
        self.renderer_name = choose_renderer(renderer)
        self.model = build_model()
        self.data = mujoco.MjData(self.model)
        self._substeps = round(steps)
        self._step_ns = round(1e9 / control_hz)
        self._renderer = None
        self._scene: Scene | None = None
        names = [f"vx300s_left/{name}" for name in JOINT_NAMES]
        joints = np.array([self.model.joint(name).id for name in names])
        self._qpos, self._dofs = self.model.jnt_qposadr[joints], self.model.jnt_dofadr[joints]
        self._right_finger = self.model.joint("vx300s_left/right_finger").qposadr[0]
        self._site = self.model.site("tool").id
        self._arm = ArmKinematics(self.model, joints[:6], self._site)
        free = [self.model.joint(f"object{i}") for i in range(OBJECT_COUNT)]
        self._object_qpos = np.array([j.qposadr[0] for j in free])
        self._object_dofs = np.array([j.dofadr[0] for j in free])
        self._object_geoms = [self.model.geom(f"object{i}").id for i in range(OBJECT_COUNT)]
        self._pads = tuple(self.model.geom(f"{side}_pad").id for side in ("left", "right"))
        gain, bias = self.model.actuator_gainprm[:6, 0], self.model.actuator_biasprm[:6, 2]
        self._lead_s = -bias / gain
        self.time_ns = 0

    @property
    def scene(self) -> Scene:
        if self._scene is None:
            raise ValueError("World: reset(scene) was not called yet")
        return self._scene

    def reset(self, scene: Scene) -> None:
        """Put the objects, the arm at scene.home_xyz (gripper open) and the looks; time goes on."""
        self._scene = scene
        apply_scene(self.model, self.data, scene)
        mujoco.mj_resetData(self.model, self.data)
        for index, item in enumerate(scene.objects):
            turn = [np.cos(item.yaw_rad / 2), 0, 0, np.sin(item.yaw_rad / 2)]
            self.place_object(index, np.array([*item.xy, item.half_m]), turn)
        self.place_arm(np.array([*scene.home_xyz, *TOP_DOWN_XYZW]), 1.0)

    def place_object(self, index: int, xyz: np.ndarray, wxyz=(1.0, 0.0, 0.0, 0.0)) -> None:
        """Put an object somewhere at rest, without physics."""
        start = self._object_qpos[index]
        self.data.qpos[start : start + 7] = [*xyz, *wxyz]
        self.data.qvel[self._object_dofs[index] : self._object_dofs[index] + 6] = 0

    def place_arm(self, pose: np.ndarray, gripper: float) -> None:
        """Put the arm at pose float64[7] and gripper 0..1 at rest, without physics."""
        start = _SEARCH_START_RAD.copy()
        start[0] = start[5] = np.arctan2(pose[1], pose[0])
        joints = self._arm.solve(pose, start, iterations=30)
        finger = FINGER_CLOSED_M + gripper * _FINGER_RANGE_M
        self.data.qpos[self._qpos] = [*joints, finger]
        self.data.qpos[self._right_finger] = -finger
        self.data.qvel[:] = 0
        self._sent = self.data.qpos[self._qpos].copy()
        self._goal = self._sent.copy()
        self._target, self._gripper = None, gripper
        self.data.ctrl[:] = self._sent
        mujoco.mj_forward(self.model, self.data)

    def copy_from(self, other: World) -> None:
        """Take over scene, time and the whole physical state of another world."""
        self._scene = other.scene
        apply_scene(self.model, self.data, other.scene)
        mujoco.mj_resetData(self.model, self.data)
        for name in ("qpos", "qvel", "ctrl", "qacc_warmstart"):
            getattr(self.data, name)[:] = getattr(other.data, name)
        self._sent, self._goal = other._sent.copy(), other._goal.copy()
        self._target, self._gripper = other._target, other._gripper
        self.time_ns = other.time_ns
        mujoco.mj_forward(self.model, self.data)

    def command(self, pose: np.ndarray, gripper: float) -> None:
        """Set the Cartesian setpoint: pose float64[7] x y z qx qy qz qw in base_link, gripper 0..1.

        Outside the reach the arm goes as near as it can. Raises ValueError if not finite.
        """
        pose = np.asarray(pose, float)
        if pose.shape != (7,) or not (np.isfinite(pose).all() and np.isfinite(gripper)):
            raise ValueError(f"command: got {pose}, {gripper}, expected 7 finite numbers and one")
        self._target = np.concatenate([pose[:3], pose[3:] / max(np.linalg.norm(pose[3:]), 1e-9)])
        self._gripper = float(np.clip(gripper, 0.0, 1.0))

    def step(self) -> None:
        """Advance one control period: solve for the setpoint, then run the physics."""
        previous = self._sent
        if self._target is not None:
            self._goal[:6] = self._arm.solve(self._target, previous[:6])
        self._goal[6] = FINGER_CLOSED_M + self._gripper * _FINGER_RANGE_M
        speed = (self._goal[:6] - previous[:6]) / (self._step_ns * 1e-9)
        for k in range(1, self._substeps + 1):
            mixed = previous + (self._goal - previous) * (k / self._substeps)
            # The servo's damping makes it trail by lead_s seconds; ask for that much ahead.
            mixed[:6] += self._lead_s * speed
            self.data.ctrl[:] = mixed
            mujoco.mj_step(self.model, self.data)
        self._sent = self._goal.copy()
        self.time_ns += self._step_ns

    def robot_state(self) -> RobotState:
        """Measured joints (JOINT_NAMES order, last one the left finger in m), tool pose, opening."""
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, self.data.site_xmat[self._site])
        pose = np.concatenate([self.data.site_xpos[self._site], quat[[1, 2, 3, 0]]])
        # One of the two signs of the same rotation, so that the numbers never jump.
        if pose[6] < 0:
            pose[3:] *= -1
        return RobotState(
            joint_positions=self.data.qpos[self._qpos],
            joint_ns=self.time_ns,
            poses={"ee": pose},
            ee_ns=self.time_ns,
            grippers={"gripper": self.gripper},
        )

    @property
    def gripper(self) -> float:
        """Measured opening, 0 closed to 1 open."""
        finger = (self.data.qpos[self._qpos[6]] - self.data.qpos[self._right_finger]) / 2
        return float(np.clip((finger - FINGER_CLOSED_M) / _FINGER_RANGE_M, 0.0, 1.0))

    def truth(self) -> Truth:
        """Where everything is now."""
        pairs = {tuple(sorted(pair)) for pair in self.data.contact.geom.tolist()}
        touches = [
            [tuple(sorted((geom, pad))) in pairs for pad in self._pads]
            for geom in self._object_geoms
        ]
        speed = [np.linalg.norm(self.data.qvel[a : a + 3]) for a in self._object_dofs]
        xyz = np.stack([self.data.qpos[a : a + 3] for a in self._object_qpos])
        return Truth(
            scene=self.scene,
            time_ns=self.time_ns,
            object_xyz=readonly(xyz),
            object_speed=readonly(speed),
            held=tuple(all(t) for t in touches),
            touched=tuple(any(t) for t in touches),
            tool_xyz=readonly(self.data.site_xpos[self._site]),
            gripper=self.gripper,
        )

    def render(self, camera: str, width: int = 96, height: int = 96) -> np.ndarray:
        """uint8[height, width, 3] RGB of "front", "wrist" or "overview"."""
        if camera not in CAMERAS:
            raise ValueError(f"camera: got {camera!r}, expected one of {', '.join(CAMERAS)}")
        if self._renderer is None:
            self._renderer = make_renderer(self.model, self.renderer_name)
        return self._renderer.render(self.data, camera, width, height)

    def project(self, camera: str, points: np.ndarray) -> np.ndarray:
        """float64[n, 2] image coordinates in [0, 1] of points float64[n, 3]; NaN behind the camera."""
        return project(self.model, self.data, camera, points)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
