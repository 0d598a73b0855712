"""Camera images of the simulation, by OpenGL if available, else by ray casting.

Choice, in this order: EGL, OSMesa, the CPU ray caster inside libmujoco (needs no system library).
The light is one direction and an ambient part, without shadows, reflections, textures or
anti-aliasing, so that all of them give nearly the same image.
"""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys

import numpy as np

from vla_policy.sim.world.mujoco_import import mujoco

RENDERERS = ("egl", "osmesa", "raycast")
_PROBED = "VLA_SIM_RENDERER"  # probed once, inherited by child processes
_HIDDEN_GROUPS = (4, 5)
_PROBE = """
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.render import GlRenderer
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light dir="0 0 -1"/><geom size="1"/>'
    '<camera name="c" pos="0 0 5"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = GlRenderer(model, {name!r})
image = renderer.render(data, 'c', 16, 16)
assert image.max() > 0
renderer.close()
"""


def choose_renderer(name: str = "auto") -> str:
    """Name of a renderer that works here. "auto" tries them in order, each in its own process.

    Raises ValueError for an unknown name, or for a named one that does not work here.
    """
    if name not in ("auto", *RENDERERS):
        raise ValueError(f"renderer: got {name!r}, expected auto, {', '.join(RENDERERS)}")
    if name == "raycast":
        return name
    if name == "auto":
        known = os.environ.get(_PROBED, "")
        if known in RENDERERS:
            return known
        found = next((n for n in RENDERERS[:2] if _works(n)), "raycast")
        os.environ[_PROBED] = found
        return found
    if not _works(name):
        raise ValueError(
            f"renderer {name!r} does not work on this machine (no library or no device); "
            "use renderer 'auto', or 'raycast', which needs none"
        )
    return name


@functools.cache
def _works(name: str) -> bool:
    """Whether a GL renderer works; a driver that crashes ends only the probe process."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE.format(name=name)],
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def make_renderer(model: mujoco.MjModel, name: str) -> RayRenderer | GlRenderer:
    """A renderer with .render(data, camera, width, height) -> uint8[h, w, 3] and .close()."""
    return RayRenderer(model) if name == "raycast" else GlRenderer(model, name)


class GlRenderer:
    """OpenGL through EGL or OSMesa. Belongs to the thread that created it."""

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        os.environ.setdefault("LP_NUM_THREADS", "1")
        platform = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa"}[name]
        self._model = model
        self._gl = importlib.import_module(platform).GLContext(
            model.vis.global_.offwidth, model.vis.global_.offheight
        )
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, 200)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[list(_HIDDEN_GROUPS)] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def render(self, data: mujoco.MjData, camera: str, width: int, height: int) -> np.ndarray:
        """uint8[height, width, 3] RGB of a model camera."""
        self._gl.make_current()
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        view = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(view, self._scene, self._context)
        image = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, view, self._context)
        return image[::-1].copy()

    def refresh(self) -> None:
        """Upload changed pictures of the model."""
        self._gl.make_current()
        for texture in range(self._model.ntex):
            mujoco.mjr_uploadTexture(self._model, self._context, texture)

    def close(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()


class RayRenderer:
    """One ray per pixel with libmujoco's ray caster, Lambert shading. Needs no GL."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._groups = np.ones(6, np.uint8)
        self._groups[list(_HIDDEN_GROUPS)] = 0
        # mj_multiRay (4.0.0) culls bodies by their bounds in spherical angles, wrongly near the
        # vertical: parts of the gripper vanish. Bounds that surround the camera prevent that.
        names = [model.body(b).name for b in range(model.nbody)]
        bodies = [b for b, name in enumerate(names) if "gripper" in name or "finger" in name]
        self._bounds = np.concatenate(
            [model.body_bvhadr[b] + np.arange(model.body_bvhnum[b]) for b in bodies]
        ).astype(int)

    def render(self, data: mujoco.MjData, camera: str, width: int, height: int) -> np.ndarray:
        """uint8[height, width, 3] RGB of a model camera."""
        model, index = self._model, self._model.camera(camera).id
        axes = data.cam_xmat[index].reshape(3, 3)
        rays = pixel_directions(width, height, float(model.cam_fovy[index])) @ axes.T
        count = len(rays)
        # MuJoCo before 4 leaves these as they are where a ray hits nothing.
        hit, distance = np.full(count, -1, np.int32), np.full(count, -1.0)
        normal = np.zeros(count * 3)
        origin = data.cam_xpos[index].copy()
        bounds = model.bvh_aabb[self._bounds].copy()
        model.bvh_aabb[self._bounds, 3:] = 2.0
        groups = self._groups
        mujoco.mj_multiRay(
            model,
            data,
            origin,
            rays.ravel(),
            groups,
            True,
            -1,
            hit,
            distance,
            normal,
            count,
            100.0,
        )
        model.bvh_aabb[self._bounds] = bounds
        normals = normal.reshape(-1, 3)
        # Meshes are visible from the side that faces the camera.
        flip = np.where(np.einsum("ij,ij->i", normals, rays) > 0, -1.0, 1.0)
        cosine = np.clip(-(normals @ data.light_xdir[0]) * flip, 0.0, 1.0)
        light = model.vis.headlight.ambient[None] + cosine[:, None] * model.light_diffuse[0][None]
        own = model.geom_rgba[hit, :3]
        self._paint(data, own, hit, origin + rays * distance[:, None])
        colour = np.clip(own * light, 0.0, 1.0)
        colour[hit < 0] = 0.0
        image: np.ndarray = np.round(colour * 255).astype(np.uint8).reshape(height, width, 3)
        return image

    def _paint(
        self, data: mujoco.MjData, own: np.ndarray, hit: np.ndarray, points: np.ndarray
    ) -> None:
        """Write picture colours into own, float64[n, 3], for hits of geoms with a picture."""
        model = self._model
        for geom in np.flatnonzero(model.geom_matid >= 0):
            here = hit == geom
            if not here.any():
                continue
            texture = model.mat_texid[model.geom_matid[geom], mujoco.mjtTextureRole.mjTEXROLE_RGB]
            start, height, width = (
                int(x[texture]) for x in (model.tex_adr, model.tex_height, model.tex_width)
            )
            picture = model.tex_data[start : start + height * width * 3].reshape(height, width, 3)
            axes = data.geom_xmat[geom].reshape(3, 3)
            local = (points[here] - data.geom_xpos[geom]) @ axes / model.geom_size[geom]
            own[here] = _sampled(picture, local[:, 0], local[:, 1]) / 255.0

    def refresh(self) -> None:
        """Does nothing: pictures are read from the model; for the same interface as GlRenderer."""

    def close(self) -> None:
        """Does nothing; for the same interface as GlRenderer."""


@functools.lru_cache(maxsize=16)
def pixel_directions(width: int, height: int, fovy_deg: float) -> np.ndarray:
    """float64[h * w, 3] unit vectors through the pixel centres, camera frame (looks along -z)."""
    scale = np.tan(np.radians(fovy_deg) / 2) * 2 / height
    x = (np.arange(width) + 0.5 - width / 2) * scale
    y = (height / 2 - np.arange(height) - 0.5) * scale
    grid = np.stack([*np.meshgrid(x, y), -np.ones((height, width))], -1).reshape(-1, 3)
    directions: np.ndarray = grid / np.linalg.norm(grid, axis=1, keepdims=True)
    return directions


def project(
    model: mujoco.MjModel, data: mujoco.MjData, camera: str, points: np.ndarray
) -> np.ndarray:
    """float64[n, 2] image coordinates in [0, 1] (u right, v down) of points float64[n, 3], square image.

    A point behind the camera, or not finite, gives NaN.
    """
    index = model.camera(camera).id
    local = (points - data.cam_xpos[index]) @ data.cam_xmat[index].reshape(3, 3)
    depth = np.where(-local[:, 2] > 1e-6, -local[:, 2], np.nan)
    scale = 2 * np.tan(np.radians(model.cam_fovy[index]) / 2)
    return np.stack([0.5 + local[:, 0] / depth / scale, 0.5 - local[:, 1] / depth / scale], 1)


def _sampled(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64[n, 3]: picture uint8[h, w, 3] at x, y from -1 to 1 of a box, as in OpenGL."""
    height, width = picture.shape[:2]
    column = np.clip(((x + 1) / 2 * width).astype(int), 0, width - 1)
    row = np.clip(((1 - y) / 2 * height).astype(int), 0, height - 1)
    sampled: np.ndarray = picture[row, column].astype(float)
    return sampled
