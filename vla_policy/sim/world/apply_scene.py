"""Writing a scene into a compiled model: sizes, colours, destinations, light and cameras."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vla_policy.sim.scenes.scene import CARD_LENGTH, CARD_PX, Scene, SceneObject
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.room_model import DENSITY

_GEOM_TYPES = {
    "cube": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def apply_scene(model: mujoco.MjModel, data: mujoco.MjData, scene: Scene) -> None:
    """Write sizes, colours, destinations, light and cameras of scene into model.

    Positions of the objects and the arm are states, not model fields; World.reset sets them.
    """
    for index, item in enumerate(scene.objects):
        _write_object(model, index, item)
    looks = scene.looks
    arms = ("base/", *(f"{arm.model}/" for arm in scene.twin.arms))
    model.body_pos[model.body("tray").id] = scene.destination_xyz("tray")
    model.body_pos[model.body("pad").id] = scene.destination_xyz("pad")
    for geom in range(model.ngeom):
        name = model.geom(geom).name
        if name.startswith(arms):
            model.geom_rgba[geom, :3] = looks.robot_rgb
        elif name.startswith("tray"):
            model.geom_rgba[geom, :3] = looks.tray_rgb
    model.geom_rgba[model.geom("pad").id, :3] = looks.pad_rgb
    model.geom_rgba[model.geom("table").id, :3] = looks.table_rgb
    model.geom_rgba[model.geom("floor").id, :3] = looks.floor_rgb
    model.light_dir[0] = looks.light_direction
    model.light_diffuse[0] = looks.light
    model.vis.headlight.ambient = [looks.ambient] * 3
    camera = model.camera("front").id
    model.cam_pos[camera] = looks.front_position
    model.cam_quat[camera] = look_at(
        looks.front_position, looks.front_target, looks.front_roll_rad, scene.twin.front.up
    )
    model.cam_fovy[camera] = looks.front_fovy_deg
    mujoco.mj_setConst(model, data)


def _write_object(model: mujoco.MjModel, index: int, item: SceneObject) -> None:
    geom, body = model.geom(f"object{index}").id, model.body(f"object{index}").id
    half = item.half_m
    model.geom_type[geom] = _GEOM_TYPES[item.shape]
    sizes = {"cube": [half] * 3, "cylinder": [half, half, 0], "ball": [half, 0, 0]}
    model.geom_size[geom] = sizes[item.shape]
    model.geom_rbound[geom] = half * {"cube": 3**0.5, "cylinder": 2**0.5, "ball": 1.0}[item.shape]
    model.geom_aabb[geom] = [0, 0, 0, half, half, half]
    model.bvh_aabb[model.body_bvhadr[body]] = [0, 0, 0, half, half, half]
    model.geom_rgba[geom] = [*item.rgb, 1.0]
    model.geom_matid[geom] = -1
    if item.card is not None:
        _write_card(model, index, item)
        return
    volume = half**3 * {"cube": 8.0, "cylinder": 2 * np.pi, "ball": 4 / 3 * np.pi}[item.shape]
    mass = DENSITY * volume
    model.body_mass[body] = mass
    factor = {"cube": [2 / 3] * 3, "cylinder": [7 / 12, 7 / 12, 1 / 2], "ball": [0.4] * 3}[
        item.shape
    ]
    model.body_inertia[body] = mass * half**2 * np.array(factor)


def _write_card(model: mujoco.MjModel, index: int, item: SceneObject) -> None:
    """A longer box with a picture; all other fields of the geom are already written."""
    if item.card is None:
        raise ValueError(f"{item.name}: got no card, expected one")
    geom, body = model.geom(f"object{index}").id, model.body(f"object{index}").id
    size = item.half_m * np.array([CARD_LENGTH, 1.0, 1.0])
    model.geom_size[geom] = size
    model.geom_rbound[geom] = np.linalg.norm(size)
    model.geom_aabb[geom, 3:] = size
    model.bvh_aabb[model.body_bvhadr[body], 3:] = size
    mass = DENSITY * 8 * size.prod()
    model.body_mass[body] = mass
    model.body_inertia[body] = mass / 3 * (np.square(size).sum() - np.square(size))
    model.geom_rgba[geom] = 1.0  # colours are the picture's
    model.geom_matid[geom] = model.material(f"card{index}").id
    start = model.tex_adr[model.texture(f"card{index}").id]
    picture = np.frombuffer(item.card.pixels, np.uint8).reshape(CARD_PX, CARD_PX, 3)
    # A texture's columns are along x, the picture's rows are: it is upright to the front camera.
    model.tex_data[start : start + picture.size] = np.rot90(picture).ravel()


def look_at(
    position: ArrayLike, target: ArrayLike, roll_rad: float = 0.0, up: ArrayLike = (0.0, 0.0, 1.0)
) -> np.ndarray:
    """float64[4] wxyz of a camera (it looks along its -z, y up in the image) at position.

    up: direction that is up in the image.
    """
    forward = np.asarray(target, float) - np.asarray(position, float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, float))
    right /= np.linalg.norm(right)
    above = np.cross(right, forward)
    right, above = (
        np.cos(roll_rad) * right + np.sin(roll_rad) * above,
        np.cos(roll_rad) * above - np.sin(roll_rad) * right,
    )
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, above, -forward], 1).ravel())
    return quat
