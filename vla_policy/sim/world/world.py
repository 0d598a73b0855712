"""Physics, cameras and controllers of a simulated robot cell.

Time is integer nanoseconds of the simulation and moves only in step().
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_policy.sim.scenes.scene import Scene, seen_from
from vla_policy.sim.twin import find_twin
from vla_policy.sim.world.apply_scene import apply_scene
from vla_policy.sim.world.arm import JOINT_NAMES, TOP_DOWN_XYZW, ArmControl
from vla_policy.sim.world.base import BaseControl
from vla_policy.sim.world.ground_truth import Tool, Truth
from vla_policy.sim.world.model import build_model
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.render import (
    GlRenderer,
    RayRenderer,
    choose_renderer,
    make_renderer,
    project,
)
from vla_policy.sim.world.room_model import OBJECT_COUNT, PHYSICS_DT_S
from vla_policy.types import RobotState, readonly

__all__ = ["JOINT_NAMES", "OVERVIEW", "TOP_DOWN_XYZW", "Truth", "World"]

OVERVIEW = "overview"
_STATE = ("qpos", "qvel", "ctrl", "qacc_warmstart")  # of MuJoCo's data


class World:
    """One simulated robot cell. Call reset() first."""

    def __init__(
        self, *, renderer: str = "auto", control_hz: int = 50, robot: str = "vx300s"
    ) -> None:
        steps = 1.0 / control_hz / PHYSICS_DT_S
        if not 1 <= round(steps) or abs(steps - round(steps)) > 1e-9:
            raise ValueError(
                f"control_hz: got {control_hz}, expected a divisor of {1 / PHYSICS_DT_S:.0f} Hz"
            )
        self.twin = find_twin(robot)
        self.renderer_name = choose_renderer(renderer)
        self.model = build_model(self.twin)
        self.data = mujoco.MjData(self.model)
        self._substeps = round(steps)
        self._step_ns = round(1e9 / control_hz)
        self._renderer: RayRenderer | GlRenderer | None = None
        self._scene: Scene | None = None
        self._arms = tuple(ArmControl(self.model, self.data, arm) for arm in self.twin.arms)
        self._base = BaseControl(self.model, self.data) if self.twin.drives else None
        free = [self.model.joint(f"object{i}") for i in range(OBJECT_COUNT)]
        self._object_qpos = np.array([j.qposadr[0] for j in free])
        self._object_dofs = np.array([j.dofadr[0] for j in free])
        self._object_geoms = [self.model.geom(f"object{i}").id for i in range(OBJECT_COUNT)]
        self.time_ns = 0

    @property
    def scene(self) -> Scene:
        """The scene as it was drawn."""
        if self._scene is None:
            raise ValueError("World: reset(scene) was not called yet")
        return self._scene

    def reset(self, scene: Scene) -> None:
        """Set objects, tools at scene.homes (grippers open) and appearance; time continues."""
        if scene.robot != self.twin.name:
            raise ValueError(
                f"scene: got one for {scene.robot}, this world is of {self.twin.name}"
            )
        self._scene = scene
        apply_scene(self.model, self.data, scene)
        self._show_cards(scene)
        mujoco.mj_resetData(self.model, self.data)
        if self._base is not None:
            self._base.place(np.zeros(3))
        for index, item in enumerate(scene.objects):
            turn = [np.cos(item.yaw_rad / 2), 0, 0, np.sin(item.yaw_rad / 2)]
            self.place_object(index, np.array([*item.xy, item.half_m]), turn)
        for index, home in enumerate(scene.homes):
            self.place_arm(np.array([*home, *TOP_DOWN_XYZW]), 1.0, index)

    def place_object(
        self, index: int, xyz: np.ndarray, wxyz: Sequence[float] = (1.0, 0.0, 0.0, 0.0)
    ) -> None:
        """Place an object in the room at rest, without physics."""
        start = self._object_qpos[index]
        self.data.qpos[start : start + 7] = [*xyz, *wxyz]
        self.data.qvel[self._object_dofs[index] : self._object_dofs[index] + 6] = 0

    def place_arm(self, pose: np.ndarray, gripper: float, arm: int = 0) -> None:
        """Place an arm at pose float64[7] and gripper 0..1 at rest, without physics."""
        self._arms[arm].place(pose, gripper)
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def place_base(self, pose: np.ndarray) -> None:
        """Place the base at float64[3] x, y, yaw of the room, without physics."""
        self._driven().place(pose)
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def copy_from(self, other: World) -> None:
        """Copy scene, time and the whole physical state of another world of the same robot."""
        self._scene = other.scene
        apply_scene(self.model, self.data, other.scene)
        self._show_cards(other.scene)
        mujoco.mj_resetData(self.model, self.data)
        for name in ("qpos", "qvel", "ctrl", "qacc_warmstart"):
            getattr(self.data, name)[:] = getattr(other.data, name)
        for mine, theirs in zip(self._arms, other._arms, strict=True):
            mine.copy_from(theirs)
        if self._base is not None and other._base is not None:
            self._base.copy_from(other._base)
        self.time_ns = other.time_ns
        mujoco.mj_forward(self.model, self.data)

    def state_values(self) -> np.ndarray:
        """float64[n], the whole physical state, for restore() of a world of the same robot."""
        parts = [getattr(self.data, name) for name in _STATE]
        parts += [arm.pursued() for arm in self._arms]
        if self._base is not None:
            parts.append(self._base.pursued())
        return np.concatenate([[float(self.time_ns)], *parts])

    def restore(self, scene: Scene, values: np.ndarray) -> None:
        """Set the state of another world, from its scene and state_values().

        Raises ValueError for another scene's robot or a wrong number of values.
        """
        if self._scene is not scene:
            self.reset(scene)
        expected = self.state_values().shape
        if values.shape != expected or not np.isfinite(values).all():
            raise ValueError(
                f"state: got shape {values.shape}, expected {expected} finite numbers"
            )
        rest = values[1:]
        for name in _STATE:
            field = getattr(self.data, name)
            field[:], rest = rest[: field.size], rest[field.size :]
        for part in (*self._arms, *((self._base,) if self._base is not None else ())):
            rest = part.pursue(rest)
        self.time_ns = int(values[0])
        mujoco.mj_forward(self.model, self.data)

    def command(self, pose: np.ndarray | None, gripper: float | None, arm: int = 0) -> None:
        """Set an arm's setpoint: pose float64[7] x y z qx qy qz qw in the base frame, gripper 0..1.

        None keeps that controller's setpoint. Outside the reach the arm moves as close as it can.
        Raises ValueError if not finite.
        """
        self._arms[arm].command(pose, gripper)

    def drive(self, vx: float, wz: float) -> None:
        """Set the base's velocity, m/s ahead and rad/s to the left; it holds for half a second."""
        self._driven().command(vx, wz, self.time_ns)

    def step(self) -> None:
        """Advance one control period: solve for the setpoints, then run the physics."""
        senders = [arm.plan(self._step_ns * 1e-9) for arm in self._arms]
        for k in range(1, self._substeps + 1):
            for send in senders:
                send(k / self._substeps)
            if self._base is not None:
                self._base.send(self.time_ns, PHYSICS_DT_S)
            mujoco.mj_step(self.model, self.data)
        self.time_ns += self._step_ns

    def robot_state(self) -> RobotState:
        """Measured joints (JOINT_NAMES order, arm after arm), tool poses, openings."""
        arms = list(zip(self.twin.arms, self._arms, strict=True))
        return RobotState(
            joint_positions=np.concatenate([arm.joints for arm in self._arms]),
            joint_ns=self.time_ns,
            poses={named.tool: self._pose(arm.site) for named, arm in arms},
            ee_ns=self.time_ns,
            grippers={named.gripper: arm.gripper for named, arm in arms},
        )

    def truth(self) -> Truth:
        """The current ground truth."""
        pairs = {tuple(sorted(pair)) for pair in self.data.contact.geom.tolist()}
        speed = [np.linalg.norm(self.data.qvel[a : a + 3]) for a in self._object_dofs]
        room_xyz = readonly(np.stack([self.data.qpos[a : a + 3] for a in self._object_qpos]))
        scene, xyz = self.scene, room_xyz
        if self._base is not None:
            scene, xyz = seen_from(scene, self._base.pose), readonly(self._in_base(room_xyz))
        return Truth(
            scene=scene,
            time_ns=self.time_ns,
            object_xyz=xyz,
            object_speed=readonly(speed),
            tools=tuple(self._tool(arm, pairs) for arm in self._arms),
            room_xyz=room_xyz,
        )

    @property
    def base_pose(self) -> np.ndarray:
        """float64[3] x, y, yaw of the base in the room; zeros without a mobile base."""
        return np.zeros(3) if self._base is None else self._base.pose

    def render(
        self, camera: str, width: int | None = None, height: int | None = None
    ) -> np.ndarray:
        """uint8[height, width, 3] RGB of a camera or of the overview; None: default size."""
        known = (*self.twin.cameras, OVERVIEW)
        if camera not in known:
            raise ValueError(f"camera: got {camera!r}, expected one of {', '.join(known)}")
        if self._renderer is None:
            self._renderer = make_renderer(self.model, self.renderer_name)
        side = self.twin.side_px(camera)
        return self._renderer.render(self.data, camera, width or side, height or side)

    def project(self, camera: str, points: np.ndarray) -> np.ndarray:
        """float64[n, 2] image coordinates in [0, 1] of points float64[n, 3] of the base frame.

        NaN behind the camera.
        """
        if self._base is not None:
            points = np.asarray(points) @ self._base_axes().T + self._base_origin()
        return project(self.model, self.data, camera, points)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _show_cards(self, scene: Scene) -> None:
        if self._renderer is not None and any(item.card is not None for item in scene.objects):
            self._renderer.refresh()

    def _driven(self) -> BaseControl:
        if self._base is None:
            raise ValueError(f"drive: {self.twin.name} stands on no moving base")
        return self._base

    def _tool(self, arm: ArmControl, pairs: set[tuple[int, ...]]) -> Tool:
        touches = [
            [tuple(sorted((geom, pad))) in pairs for pad in arm.pads]
            for geom in self._object_geoms
        ]
        return Tool(
            xyz=readonly(self._pose(arm.site)[:3]),
            gripper=arm.gripper,
            held=tuple(all(t) for t in touches),
            touched=tuple(any(t) for t in touches),
        )

    def _pose(self, site: int) -> np.ndarray:
        """float64[7] measured pose of a site in the base frame."""
        xyz, axes = self.data.site_xpos[site], self.data.site_xmat[site]
        if self._base is not None:
            xyz = self._in_base(xyz)
            axes = (self._base_axes().T @ axes.reshape(3, 3)).ravel()
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, axes)
        pose = np.concatenate([xyz, quat[[1, 2, 3, 0]]])
        # One of the two signs of the same rotation, so that the values never jump.
        if pose[6] < 0:
            pose[3:] *= -1
        return pose

    def _in_base(self, points: np.ndarray) -> np.ndarray:
        seen: np.ndarray = (points - self._base_origin()) @ self._base_axes()
        return seen

    def _base_origin(self) -> np.ndarray:
        x, y, _ = self._driven().pose
        return np.array([x, y, 0.0])

    def _base_axes(self) -> np.ndarray:
        """float64[3, 3] whose columns are the base's axes in the room."""
        yaw = self._driven().pose[2]
        c, s = np.cos(yaw), np.sin(yaw)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
