"""Meta-World's Sawyer (optional package `metaworld`) as the robot of config/benchmarks/metaworld_sawyer.yaml.

A row is a position of the hand and an opening, due after STEPS steps of Meta-World's; what it is sent is the way there from
the sum of what was sent before. Two images of one camera: all of it, and the part around the hand at three times the scale.
"""

from __future__ import annotations

from typing import Any

import cv2
import mujoco
import numpy as np

from vla_policy.types import Array

CAMERA, NEAR = "corner2", "near"
CAMERA_XYZ = (0.75, 0.075, 0.7)  # its position in the training data of most policies
IMAGE_PX, SCALE = 64, 3
STEPS = 4  # of 12.5 ms, in a row
REACH_M = 0.01  # of one step of Meta-World's, for an action of 1
UPRIGHT = (0.0, 0.5**0.5, 0.0, 0.5**0.5)  # the hand never turns, xyzw


def task_of(name: str, seed: int) -> tuple[Any, list[Any]]:
    """The environment of a task, and its 50 goals for a seed."""
    import metaworld

    benchmark = metaworld.MT1(f"{name}-v3", seed=seed)
    env = benchmark.train_classes[f"{name}-v3"](render_mode="rgb_array", camera_name=CAMERA)
    env.model.camera(CAMERA).pos[:] = CAMERA_XYZ
    return env, benchmark.train_tasks


def state_of(seen: Array) -> Array:
    """float64[8]: pose and opening, of the four values that Meta-World measures of the hand."""
    return np.array([*seen[:3], *UPRIGHT, seen[3]])


class Sight:
    """The two images of an environment: without shadows, which take most of the time on a CPU."""

    def __init__(self, env: Any) -> None:
        self._env, side = env, SCALE * IMAGE_PX
        shown = env.model.vis
        before = shown.quality.offsamples, shown.quality.shadowsize
        shown.quality.offsamples = shown.quality.shadowsize = 0
        self._renderer = mujoco.Renderer(env.model, side, side)
        shown.quality.offsamples, shown.quality.shadowsize = before
        for flag in ("SHADOW", "REFLECTION", "SKYBOX"):
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0

    def look(self, hand: Array) -> dict[str, Array]:
        """uint8[64, 64, 3] of each camera. hand: float64[3]."""
        self._renderer.update_scene(self._env.data, CAMERA)
        picture = self._renderer.render()[::-1, ::-1]  # the camera is mounted upside down
        front = cv2.resize(picture, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_AREA)
        left, top = self._corner(hand)
        room = np.pad(picture, ((IMAGE_PX, IMAGE_PX), (IMAGE_PX, IMAGE_PX), (0, 0)))
        left, top = left + IMAGE_PX, top + IMAGE_PX
        return {
            CAMERA: front,
            NEAR: np.ascontiguousarray(room[top : top + IMAGE_PX, left : left + IMAGE_PX]),
        }

    def project(self, xyz: Array) -> Array:
        """float64[n, 2]: places of points float64[n, 3] in the whole image, right and down, 0 to 1."""
        data, model = self._env.data, self._env.model
        camera = model.camera(CAMERA).id
        local = (xyz - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
        half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
        right, up = local[:, 0] / -local[:, 2] / half, local[:, 1] / -local[:, 2] / half
        return np.stack((0.5 - right / 2, 0.5 + up / 2), 1)  # mounted upside down

    def near(self, uv: Array, hand: Array) -> Array:
        """The same places in the image around the hand."""
        near: Array = (uv * SCALE * IMAGE_PX - self._corner(hand)) / IMAGE_PX
        return near

    def _corner(self, hand: Array) -> Array:
        """int64[2]: left and top of the part around the hand, pixels, inside the image or up to half outside."""
        centre = np.clip(self.project(hand[None])[0], 0.0, 1.0) * SCALE * IMAGE_PX
        corner: Array = np.round(centre).astype(int) - IMAGE_PX // 2
        return corner


class SawyerHand:
    """Sends rows, each in STEPS actions."""

    def __init__(self, env: Any) -> None:
        self._env = env

    @property
    def sent(self) -> Array:
        """float64[3]: where what was sent so far leads, inside Meta-World's limits."""
        place: Array = np.array(self._env.data.mocap_pos[0])
        return place

    def action(self, place: Array, opening: float, left: int) -> Array:
        """float64[4]: the next action, to be at a place after so many more."""
        way = (place - self.sent) / (REACH_M * left)
        action: Array = np.clip([*way, 1.0 - 2.0 * opening], -1.0, 1.0)
        return action
